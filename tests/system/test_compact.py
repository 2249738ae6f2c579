"""`luludb compact`: the file gets shorter, and every row stays where it is."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from luludb.admin.compact_offline import compact_offline
from luludb.home import Home
from luludb.limits import GUARD_S
from luludb_client import Client, DaemonUnavailable
from luludb_client.testing import running_daemon
from scripts.load.conversations import fixed_size_conversations
from tests import foreign
from tests.crash.pruning import prune_under_load
from tests.databases import damage, digest_of_rows, make_todays_file, query
from tests.system.command_line import luludb

MESSAGES = 400
CONTENT = "all work and no play " * 150


@pytest.fixture
def home(luludb_daemon):
    """A home of which three of four pages are free, between those that are not."""
    fill_and_delete(luludb_daemon.home)
    return luludb_daemon.home


def fill_and_delete(home):
    with Client(home) as client:
        client.create_session("n", "/w", id="s")
        with client.transaction() as batch:
            for number in range(MESSAGES):
                batch.append_message("s", "user", CONTENT, id=f"n{number}")
        with client.transaction() as batch:
            for number in range(MESSAGES):
                if number % 4:
                    batch.delete_message(f"n{number}")


def compacted(home, *args):
    result = luludb(home, "compact", *args, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def file_bytes(home):
    return (home / "lulu.db").stat().st_size


def test_the_file_gets_shorter_and_every_row_stays(home):
    rows = digest_of_rows(home / "lulu.db")

    found = compacted(home)

    assert found["freed_pages"] > MESSAGES // 2
    assert found["bytes_after"] == found["file_bytes"] == file_bytes(home)
    assert found["bytes_after"] < found["bytes_before"] // 2
    assert digest_of_rows(home / "lulu.db") == rows
    assert damage(home / "lulu.db") == []


def test_compacting_again_has_nothing_to_give_back(home):
    before = compacted(home)

    result = luludb(home, "compact")

    assert result.returncode == 0
    assert b"nothing to give back" in result.stdout
    assert file_bytes(home) == before["bytes_after"]


def test_the_daemon_lives_on_when_its_file_got_shorter(luludb_daemon):
    home = luludb_daemon.home
    fill_and_delete(home)
    luludb_daemon.stop()
    luludb_daemon.start()  # so that it knows the file as a long one
    with Client(home) as client:
        compacted(home)
        until_s = client.status()["uptime_s"] + GUARD_S + 1  # its guard has looked by then
        while client.status()["uptime_s"] < until_s:
            time.sleep(0.1)

        client.append_message("s", "user", "after")


def test_while_someone_reads_the_rows_are_kept_and_the_file_waits(home):
    with foreign.reading(home):
        found = compacted(home)
        assert found["freed_pages"] > 0
        assert found["file_bytes"] > found["bytes_after"]

    assert compacted(home)["file_bytes"] == found["bytes_after"]


def test_a_daemon_killed_behind_a_compaction_starts_with_every_row(luludb_daemon):
    home = luludb_daemon.home
    fill_and_delete(home)
    rows = digest_of_rows(home / "lulu.db")
    with foreign.reading(home):
        compacted(home)
        luludb_daemon.kill()
    luludb_daemon.start()

    compacted(home)  # and the guard lets the file get shorter

    with Client(home) as client:
        client.ping()
    assert digest_of_rows(home / "lulu.db") == rows
    assert damage(home / "lulu.db") == []


def test_without_a_daemon_it_says_how_to_start_one(luludb_daemon):
    luludb_daemon.stop()

    result = luludb(luludb_daemon.home, "compact")

    assert result.returncode == 3
    assert b"no daemon serves" in result.stderr


# Offline.


def test_a_file_of_another_program_is_compacted_offline_once_and_then_online(tmp_path):
    home = tmp_path / "a home's ö%20"
    home.mkdir()
    make_todays_file(home / "lulu.db")
    with running_daemon(home) as daemon:
        fill_and_delete(home)
        refused = luludb(home, "compact")
        assert refused.returncode == 1
        assert b"luludb compact --offline" in refused.stderr
        daemon.stop()
        rows = digest_of_rows(home / "lulu.db")

        found = compacted(home, "--offline")

        assert found["messages"] == MESSAGES // 4 + 3
        assert found["file_bytes"] == file_bytes(home) < found["bytes_before"] // 2
        assert digest_of_rows(home / "lulu.db") == rows
        assert damage(home / "lulu.db") == []
        assert query(home / "lulu.db", "PRAGMA auto_vacuum") == [(2,)]
        daemon.start()
        with Client(home) as client:
            client.delete_session("s")
        assert compacted(home)["freed_pages"] > 0


def test_offline_beside_a_daemon_is_refused(home):
    before = file_bytes(home)

    result = luludb(home, "compact", "--offline")

    assert result.returncode == 1
    assert b"needs the home for itself" in result.stderr
    assert b"luludb stop" in result.stderr
    assert file_bytes(home) == before


def test_offline_after_a_failed_storage_is_refused(luludb_daemon):
    luludb_daemon.stop()
    (luludb_daemon.home / "storage-failed").write_text("then: why\n")

    result = luludb(luludb_daemon.home, "compact", "--offline")

    assert result.returncode == 1
    assert b"start the daemon first" in result.stderr


def test_offline_without_room_for_it_is_refused(luludb_daemon, monkeypatch):
    luludb_daemon.stop()
    usage = shutil.disk_usage(luludb_daemon.home)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(Exception, match=r"needs .* bytes for a while") as raised:
        compact_offline(Home(luludb_daemon.home), show=lambda *_: None, tell=print)

    assert raised.value.code == "disk_full"


def test_offline_without_a_database_makes_none(tmp_path):
    result = luludb(tmp_path / "none", "compact", "--offline")

    assert result.returncode == 1
    assert b"there is no database" in result.stderr
    assert not (tmp_path / "none").exists()


def test_offline_beside_a_foreign_writer_ends_as_busy_and_changes_nothing(luludb_daemon):
    home = luludb_daemon.home
    fill_and_delete(home)
    luludb_daemon.stop()
    rows = digest_of_rows(home / "lulu.db")
    with foreign.holding_the_write_lock(home):
        result = luludb(home, "compact", "--offline")

    assert result.returncode == 1
    assert b"another program holds the lock" in result.stderr
    assert digest_of_rows(home / "lulu.db") == rows


def test_a_killed_offline_compaction_leaves_every_row(luludb_daemon):
    home = luludb_daemon.home
    fill_and_delete(home)
    luludb_daemon.stop()
    rows = digest_of_rows(home / "lulu.db")
    args = [sys.executable, "-m", "luludb", "compact", "--offline", "--home", str(home)]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]
    for when in (1, 40, 90, 130):
        kill = f"inject=pwrite64:signal=KILL:when={when}"
        killed = subprocess.run([*strace, "-e", kill, *args], capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, f"write {when} was never made"

        assert digest_of_rows(home / "lulu.db") == rows
        assert damage(home / "lulu.db") == []
    luludb_daemon.start()
    with contextlib.suppress(DaemonUnavailable), Client(home) as client:
        client.append_message("s", "user", "on")


def test_prune_and_compact_under_writers_keep_every_other_row():
    """The short form of `scripts/torture prune`: it says what is there, not how fast it was."""
    long = fixed_size_conversations(4_000)

    found = prune_under_load(long, 8_000, writers=2, round_s=0.5)

    assert found.findings == []
    assert found.pruned["left_alone"] == 0
    assert found.pruned["messages"] > 3_000
    assert found.compacted["bytes_after"] < found.compacted["bytes_before"]
    assert found.compacted["file_bytes"] == found.compacted["bytes_after"]
