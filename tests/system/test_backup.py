"""`luludb backup`: one state of the database in one file, whoever writes, and never half of it."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from luludb_client import Client
from luludb_client.testing import running_daemon
from scripts.load.verify import verify
from tests.crash.backups import check_is_a_beginning
from tests.crash.outages import write_while
from tests.databases import damage, digest_of_rows, make_todays_file, meta_of, query
from tests.system.command_line import DEADLINE_S, luludb

NAMED = re.compile(r"lulu-\d{8}T\d{6}\.\d{6}Z\.db")
WRITERS = 16
BACKUPS_UNDER_WRITERS = 4
ROUND_S = 4.0


@pytest.fixture
def home(luludb_daemon):
    """A home with one session of three messages, and a daemon."""
    with Client(luludb_daemon.home) as client:
        session = client.create_session("n", "/w", id="s")
        for number in range(3):
            client.append_message(session.id, "user", str(number), id=f"m{number}")
    return luludb_daemon.home


def backed_up(home, destination, *args):
    result = luludb(home, "backup", str(destination), *args, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refused(home, *args):
    """Exit code and message of a backup that must not be made."""
    result = luludb(home, "backup", *args)
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""
    return result.returncode, result.stderr.decode()


# What is in it.


def test_backups_under_writers_are_beginnings_of_what_is_written(tmp_path):
    backups = []

    def is_going_on():
        backups.append(backed_up(daemon.home, tmp_path)["file"])
        return len(backups) < BACKUPS_UNDER_WRITERS

    with running_daemon(tmp_path / "home") as daemon:
        journals = write_while(daemon.home, is_going_on, seed=1, round_s=ROUND_S, processes=WRITERS)
        daemon.stop()
        whole = daemon.home / "lulu.db"

        verdict = verify(whole, journals)
        assert verdict.is_good, verdict  # no writer was held up or refused
        revs = [meta_of(backup)["last_rev"] for backup in backups]
        assert revs == sorted(revs)
        assert revs[0] < meta_of(whole)["last_rev"]
        for backup in backups:
            check_is_a_beginning(backup, whole)


@pytest.mark.parametrize("end", ["run", "stop", "kill"])
def test_a_daemon_that_runs_was_stopped_or_was_killed_makes_no_difference(
    luludb_daemon, home, tmp_path, end
):
    if end != "run":
        getattr(luludb_daemon, end)()

    made = backed_up(home, tmp_path / "b.db")

    assert (made["sessions"], made["messages"], made["last_rev"]) == (1, 3, 4)
    assert made["database_id"] == meta_of(home / "lulu.db")["database_id"]
    assert digest_of_rows(tmp_path / "b.db") == digest_of_rows(home / "lulu.db")


def test_a_database_of_another_program_is_backed_up(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    make_todays_file(home / "lulu.db")

    made = backed_up(home, tmp_path / "b.db")

    assert (made["messages"], made["last_rev"], made["database_id"]) == (3, 0, None)
    assert damage(tmp_path / "b.db") == []


# The file.


def test_it_is_one_file_for_its_owner_alone_whatever_the_umask(home, tmp_path):
    directory = tmp_path / "backups"
    directory.mkdir()
    before = os.umask(0)
    try:
        made = backed_up(home, directory / "b.db")
    finally:
        os.umask(before)

    query(directory / "b.db", "SELECT 1 FROM messages")  # reading it leaves nothing beside it

    assert os.listdir(directory) == ["b.db"]
    assert stat.S_IMODE((directory / "b.db").stat().st_mode) == 0o600
    assert (directory / "b.db").stat().st_size == made["bytes"]
    assert query(directory / "b.db", "PRAGMA journal_mode") == [("delete",)]


def test_a_file_that_is_there_is_replaced_and_a_link_stays_a_link(home, tmp_path):
    (tmp_path / "real.db").write_text("an older one")
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")

    made = backed_up(home, tmp_path / "link.db")

    assert made["file"] == str(tmp_path / "real.db")
    assert (tmp_path / "link.db").is_symlink()
    assert digest_of_rows(tmp_path / "real.db") == digest_of_rows(home / "lulu.db")


def test_it_says_what_was_backed_up_and_where(home, tmp_path):
    result = luludb(home, "backup", str(tmp_path / "b.db"))

    assert result.stdout.decode() == f"backed up 1 session and 3 messages to {tmp_path}/b.db\n"


def test_in_a_directory_it_is_named_by_the_time_and_none_replaces_another(home, tmp_path):
    first, second = (Path(backed_up(home, tmp_path)["file"]).name for _ in range(2))

    assert NAMED.fullmatch(first)
    assert NAMED.fullmatch(second)
    assert first < second


def test_it_runs_at_low_priority(home, tmp_path):
    script = "import os, sys; from luludb.cli import main\ntry: main()\nfinally: print(os.nice(0))"

    done = subprocess.run(
        [sys.executable, "-c", script, "backup", str(tmp_path), "--home", str(home)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )

    assert done.stdout.split()[-1] == b"10"


# Rotation.


def test_keep_leaves_the_newest_and_touches_nothing_that_it_did_not_name(home, tmp_path):
    old = [f"lulu-2020010{day}T000000.000000Z.db" for day in range(1, 5)]
    others = ["lulu-mine.db", "lulu-20200101T000000.000000Z.db.gz", "notes"]
    for name in (*old, *others):
        (tmp_path / name).write_text(name)
    (tmp_path / "lulu-20200101T000000.000001Z.db").mkdir()

    made = backed_up(home, tmp_path, "--keep", "3")

    newest = Path(made["file"]).name
    assert made["removed"] == [str(tmp_path / name) for name in old[:2]]
    assert set(os.listdir(tmp_path)) == {
        *(newest, *old[2:], *others, "lulu-20200101T000000.000001Z.db")
    }


def test_keep_never_removes_the_backup_just_made_though_a_clock_ran_ahead(home, tmp_path):
    for year in (2090, 2091):
        (tmp_path / f"lulu-{year}0101T000000.000000Z.db").write_text("of a clock that was wrong")

    made = backed_up(home, tmp_path, "--keep", "1")

    assert os.listdir(tmp_path) == [Path(made["file"]).name]


def test_keep_goes_with_a_directory(home, tmp_path):
    code, said = refused(home, str(tmp_path / "b.db"), "--keep", "3")

    assert code == 2
    assert "--keep goes with a directory" in said
    assert os.listdir(tmp_path) == []


# What is refused, and what it leaves.


def test_a_home_without_a_database_is_refused_and_not_made(tmp_path):
    code, said = refused(tmp_path / "none", str(tmp_path / "b.db"))

    assert code == 1
    assert "there is no database" in said
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there_is_refused(home, tmp_path):
    for destination in (f"{tmp_path}/none/", f"{tmp_path}/none/b.db"):
        code, said = refused(home, destination)
        assert code == 1
        assert f"mkdir -p {tmp_path}/none" in said


@pytest.mark.parametrize("name", ["lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock"])
def test_the_files_of_the_home_are_never_overwritten(home, tmp_path, name):
    (tmp_path / "link").symlink_to(home / name)
    before = (home / name).stat().st_ino

    for destination in (home / name, tmp_path / "link"):
        assert refused(home, str(destination))[0] == 1

    assert (home / name).stat().st_ino == before


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_a_log_that_would_be_replayed_over_the_backup_is_refused(home, tmp_path, end):
    (tmp_path / "b.db").write_text("what was there")
    (tmp_path / f"b.db{end}").write_text("a log")

    code, said = refused(home, str(tmp_path / "b.db"))

    assert code == 1
    assert f"b.db{end} is there" in said
    assert (tmp_path / "b.db").read_text() == "what was there"


def test_what_is_neither_a_file_nor_a_directory_is_refused(home, tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert refused(home, str(tmp_path / "pipe"))[0] == 1
    assert (tmp_path / "pipe").is_fifo()


def test_a_damaged_database_ends_with_4_and_keeps_what_was_there(luludb_daemon, home, tmp_path):
    luludb_daemon.stop()
    spoil_an_index(home / "lulu.db")
    (tmp_path / "b.db").write_text("the last good one")

    code, said = refused(home, str(tmp_path / "b.db"))

    assert code == 4
    assert "damaged" in said
    assert (tmp_path / "b.db").read_text() == "the last good one"
    assert os.listdir(tmp_path) == ["b.db"]


def spoil_an_index(path):
    """Zero a page that only integrity_check looks at closely."""
    sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'idx_messages_session_id'"
    ((page,),) = query(path, sql)
    ((page_bytes,),) = query(path, "PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * page_bytes + page_bytes - 40)
        file.write(bytes(40))


# Those who come after a killed one.


def test_what_a_killed_backup_left_is_removed_and_what_a_living_one_has_is_not(home, tmp_path):
    script = (
        "import sys, pathlib; from luludb.admin.aside import directory_aside\n"
        "with directory_aside(pathlib.Path(sys.argv[1])) as path:\n"
        "    (path / 'lulu.db').write_text('half'); print(path, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams) as killed:
        left = Path(killed.stdout.readline().strip())
        killed.kill()
    with subprocess.Popen(command, **streams) as living:
        held = Path(living.stdout.readline().strip())
        assert not left.exists()
        left.mkdir()  # as the dead one left it

        backed_up(home, tmp_path / "b.db")

        assert sorted(os.listdir(tmp_path)) == [held.name, "b.db"]
        living.stdin.close()
    assert os.listdir(tmp_path) == ["b.db"]
