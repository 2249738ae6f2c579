"""`luludb restore`: a backup takes the place of the database, and everyone who knew it is told."""

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luludb.home import Home
from luludb_client import Client, DataLoss, LuludbError
from luludb_client.testing import running_daemon
from tests.databases import damage, digest_of_rows, make_todays_file, meta_of, query, reading
from tests.serving import refused_start
from tests.system.command_line import DEADLINE_S, luludb

LEFT_ALONE = {"lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock", "run", "log"}
CLIENT_TIMEOUT_S = 60.0
BUSY_CLIENT = """
import sys
from luludb_client import Client, LuludbError
with Client(sys.argv[1], timeout_s=60) as client:
    client.append_message("s", "user", "known")
    print("ready", flush=True)
    try:
        while True:
            client.append_message("s", "user", "after the backup")
    except LuludbError as error:
        first = error.code
    try:
        client.append_message("s", "user", "once more")
    except LuludbError as error:
        print(first, error.code)
"""


@pytest.fixture
def daemon(tmp_path):
    """A daemon on a home with the session `s` and one message."""
    with running_daemon(tmp_path / "home") as daemon:
        with Client(daemon.home) as client:
            client.create_session("n", "/w", id="s")
            client.append_message("s", "user", "first", id="m1")
        yield daemon


@pytest.fixture
def backup(daemon, tmp_path):
    """A backup with one message; the database has two then."""
    file = tmp_path / "backup.db"
    assert luludb(daemon.home, "backup", str(file)).returncode == 0
    with Client(daemon.home) as client:
        client.append_message("s", "user", "second", id="m2")
    return file


@pytest.fixture
def home(daemon, backup):
    """The home of a daemon that was stopped after the backup and one message more."""
    daemon.stop()
    return daemon.home


def restored(home, source, **options):
    result = luludb(home, "restore", str(source), "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refused(home, source):
    """Exit code and message of a restore that must change nothing."""
    result = luludb(home, "restore", str(source))
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""
    return result.returncode, result.stderr.decode()


def contents(home):
    return [content for (content,) in query(home / "lulu.db", "SELECT content FROM messages")]


def parts_of(home):
    return [name for name in os.listdir(home) if name.endswith(".part")]


# What it does.


def test_the_database_is_what_the_backup_was_but_for_its_id(home, backup):
    old_id = meta_of(home / "lulu.db")["database_id"]

    found = restored(home, backup)

    assert damage(home / "lulu.db") == []
    assert digest_of_rows(home / "lulu.db") == digest_of_rows(backup)
    assert found["database_id"] == meta_of(home / "lulu.db")["database_id"]
    assert found["database_id"] not in (old_id, meta_of(backup)["database_id"])
    assert (found["sessions"], found["messages"], found["last_rev"]) == (1, 1, 2)
    for table in ("lulu_changes", "lulu_clients", "lulu_replies"):
        sql = f"SELECT * FROM {table}"
        assert query(home / "lulu.db", sql) == query(backup, sql)


def test_two_restores_of_one_backup_are_two_databases(home, backup):
    assert restored(home, backup)["database_id"] != restored(home, backup)["database_id"]


def test_the_old_database_is_kept_in_a_file_that_is_named(home, backup):
    before = digest_of_rows(home / "lulu.db")

    said = luludb(home, "restore", str(backup)).stdout.decode().splitlines()

    (saved,) = home.glob("lulu-before-restore-*.db")
    assert said == [
        f"restored 1 session and 1 message from {backup}",
        f"the old database is in {saved}",
    ]
    assert digest_of_rows(saved) == before
    assert damage(saved) == []
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert set(os.listdir(home)) == LEFT_ALONE | {saved.name}


def test_what_was_saved_can_be_restored(home, backup):
    before = digest_of_rows(home / "lulu.db")
    saved = restored(home, backup)["saved"]

    restored(home, saved)

    assert digest_of_rows(home / "lulu.db") == before


def test_it_is_the_same_file_and_nothing_of_it_waits_in_the_log(home, backup):
    before = (home / "lulu.db").stat().st_ino

    restored(home, backup)

    assert (home / "lulu.db").stat().st_ino == before
    assert (home / "lulu.db-wal").stat().st_size == 0


def test_a_daemon_that_was_killed_leaves_a_log_that_is_not_replayed(daemon, backup):
    daemon.kill()

    restored(daemon.home, backup)
    daemon.start()

    assert contents(daemon.home) == ["first"]


def test_a_home_that_is_not_there_is_made(tmp_path, backup):
    home = tmp_path / "another place" / "home"

    found = restored(home, backup)

    assert found["saved"] is None
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "lulu.db").stat().st_mode) == 0o600
    with running_daemon(home), Client(home) as client:
        client.append_message("s", "user", "goes on")
        assert contents(home) == ["first", "goes on"]


# What can be restored.


@pytest.mark.parametrize("page_bytes", [1024, 4096, 65536])
def test_a_file_of_another_program_and_any_page_size(home, tmp_path, page_bytes):
    make_todays_file(tmp_path / "old.db", page_bytes=page_bytes, messages=50)

    found = restored(home, tmp_path / "old.db")

    assert (found["sessions"], found["messages"], found["last_rev"]) == (1, 50, 0)
    assert digest_of_rows(home / "lulu.db") == digest_of_rows(tmp_path / "old.db")
    assert query(home / "lulu.db", "PRAGMA user_version") == [(1,)]
    with running_daemon(home), Client(home) as client:
        client.append_message("old", "user", "goes on")


def test_a_plain_copy_of_a_database_is_read_and_nothing_left_beside_it(home, backup, tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    shutil.copy(home / "lulu.db", shelf / "copy.db")
    restored(home, backup)

    restored(home, shelf / "copy.db")

    assert contents(home) == ["first", "second"]
    assert os.listdir(shelf) == ["copy.db"]


def test_the_database_of_another_home_is_read_with_its_log(home, tmp_path):
    with running_daemon(tmp_path / "other") as other:
        with Client(other.home) as client:
            client.create_session("of another home", "/w", id="o")

        restored(home, other.home / "lulu.db")

    assert query(home / "lulu.db", "SELECT id FROM sessions") == [("o",)]


# What is refused, with the database as it was.


def a_text(path):
    path.write_text('{"type": "session"}\n' * 1000)


def an_empty_file(path):
    path.touch()


def half_of_it(path):
    make_todays_file(path, messages=500)
    os.truncate(path, path.stat().st_size // 2)


def damaged(path):
    make_todays_file(path, messages=500)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 9000)


def made_with(*statements):
    def make(path):
        make_todays_file(path)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)

    return make


SOURCES = {
    "text": (a_text, "no SQLite file"),
    "empty": (an_empty_file, "no SQLite file"),
    "half": (half_of_it, "malformed"),
    "damaged": (damaged, "damaged"),
    "newer": (made_with("PRAGMA user_version = 99"), "upgrade luludb"),
    "no-messages": (made_with("DROP TABLE messages"), "no table messages"),
    "another-program-with-a-version": (made_with("PRAGMA user_version = 1"), "no table lulu_"),
    "other-columns": (made_with("ALTER TABLE sessions ADD COLUMN mood"), "luludb import"),
}


@pytest.mark.parametrize(("make", "reason"), SOURCES.values(), ids=SOURCES)
def test_what_could_not_be_a_database_is_refused(home, tmp_path, make, reason):
    make(tmp_path / "source.db")
    before = digest_of_rows(home / "lulu.db"), meta_of(home / "lulu.db")

    code, said = refused(home, tmp_path / "source.db")

    assert code == 1
    assert reason in said
    assert f"{tmp_path}/source.db" in said
    assert (digest_of_rows(home / "lulu.db"), meta_of(home / "lulu.db")) == before
    assert set(os.listdir(home)) == LEFT_ALONE


def test_the_database_itself_is_refused(home, tmp_path):
    (tmp_path / "link").symlink_to(home / "lulu.db")

    for source in (home / "lulu.db", tmp_path / "link"):
        code, said = refused(home, source)
        assert code == 1
        assert "the database itself" in said


def test_a_file_that_is_not_there_is_refused_and_no_home_made_for_it(tmp_path):
    assert refused(tmp_path / "home", tmp_path / "none")[0] == 1
    assert os.listdir(tmp_path) == []


def test_a_home_that_is_served_is_refused_and_it_says_how_to_stop_the_daemon(daemon, backup):
    code, said = refused(daemon.home, backup)

    assert code == 1
    assert f"stop it first: luludb stop --home {daemon.home}" in said
    assert contents(daemon.home) == ["first", "second"]
    assert parts_of(daemon.home) == []


def test_a_database_that_another_program_writes_to_is_refused(home, backup):
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()\n"
        "connection.close()"
    )
    command = [sys.executable, "-c", script, str(home / "lulu.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()

        code, said = refused(home, backup)

        writer.stdin.close()
    assert code == 1
    assert "another program" in said
    assert contents(home) == ["first", "second"]


# After a failure.


def test_the_note_of_a_failure_is_lifted_and_the_daemon_starts_without_a_check(home, backup):
    Home(home).failure.write_text("2026-01-01T00:00:00.000000+00:00 the disk failed\n")

    restored(home, backup)

    assert not Home(home).failure.exists()
    with running_daemon(home) as daemon:
        assert "storage failed last time" not in daemon.stderr()
        assert "checking the database" not in daemon.stderr()


def test_the_note_stays_while_a_reader_keeps_the_log_from_being_copied_back(home, backup):
    Home(home).failure.write_text("2026-01-01T00:00:00.000000+00:00 the disk failed\n")
    with reading(home / "lulu.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchall()

        restored(home, backup)

        assert Home(home).failure.exists()
        reader.execute("COMMIT")
        assert reader.execute("SELECT content FROM messages").fetchall() == [("first",)]
    with running_daemon(home) as daemon:  # heeds the note
        assert "storage failed last time" in daemon.stderr()
    assert contents(home) == ["first"]


def no_database(file):
    file.write(b"\xff" * 5000)


def shorter(file):
    file.truncate(9000)


def pages_spoiled(file):
    file.seek(8192)  # behind the schema and the map of pages
    file.write(b"\xff" * 8192)


@pytest.mark.parametrize("spoil", [no_database, shorter, pages_spoiled])
def test_a_database_that_is_damaged_is_saved_as_it_is_and_restored(home, backup, spoil):
    with (home / "lulu.db").open("r+b") as file:
        spoil(file)
    before = (home / "lulu.db").read_bytes()

    found = restored(home, backup)

    assert found["was_damaged"]
    assert Path(found["saved"]).read_bytes() == before
    assert damage(home / "lulu.db") == []
    assert digest_of_rows(home / "lulu.db") == digest_of_rows(backup)
    with running_daemon(home), Client(home) as client:
        client.append_message("s", "user", "goes on")


def test_the_log_of_a_damaged_database_is_saved_and_not_replayed(daemon, backup):
    daemon.stop()
    daemon.start()
    with Client(daemon.home) as client:
        client.update_session("s", status="in the log alone")
    daemon.kill()
    with (daemon.home / "lulu.db").open("r+b") as file:
        no_database(file)
    log = (daemon.home / "lulu.db-wal").read_bytes()
    assert log

    found = restored(daemon.home, backup)

    assert found["was_damaged"]
    assert Path(f"{found['saved']}-wal").read_bytes() == log
    assert damage(daemon.home / "lulu.db") == []
    assert digest_of_rows(daemon.home / "lulu.db") == digest_of_rows(backup)


def test_a_daemon_that_refuses_a_damaged_database_serves_after_a_restore(home, backup):
    os.truncate(home / "lulu.db", 9000)
    assert refused_start(home)[0] == 1

    restored(home, backup)

    with running_daemon(home):
        assert contents(home) == ["first"]


# Those who knew the old database.


def append_until_told(client, told, is_under_way):
    """Blocking calls, one after the other."""
    try:
        while True:
            client.append_message("s", "user", "after the backup")
            is_under_way.set()
    except LuludbError as error:
        told.append(error)


def test_every_client_that_knew_the_old_database_is_told_and_none_goes_on(
    daemon, make_client, tmp_path
):
    """Processes and threads in blocking calls, pipelines under way, and clients that are idle."""
    home, file = daemon.home, tmp_path / "backup.db"
    with contextlib.ExitStack() as stack:

        def new_client():
            return stack.enter_context(make_client(home, timeout_s=CLIENT_TIMEOUT_S))

        # It has seen nothing that the backup lacks: only the database's id tells.
        idle = [new_client() for _ in range(3)]
        for client in idle:
            client.append_message("s", "user", "before the backup")
        assert luludb(home, "backup", str(file)).returncode == 0
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", BUSY_CLIENT, str(home)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        blocking = [(new_client(), [], threading.Event()) for _ in range(4)]
        threads = [threading.Thread(target=append_until_told, args=each) for each in blocking]
        for thread in threads:
            thread.start()
        for _, _, is_under_way in blocking:
            assert is_under_way.wait(DEADLINE_S)
        piping = [new_client() for _ in range(3)]
        for client in piping:
            client.submit("message.append", session_id="s", role="user", content="x").result()

        daemon.stop()
        futures = [
            client.submit("message.append", session_id="s", role="user", content="never")
            for client in piping
            for _ in range(20)
        ]
        restored(home, file)
        after = digest_of_rows(home / "lulu.db")
        daemon.start()

        for process in processes:
            assert process.communicate(timeout=DEADLINE_S)[0] == "data_loss data_loss\n"
        for thread in threads:
            thread.join(DEADLINE_S)
        assert [type(error) for _, (error,), _ in blocking] == [DataLoss] * len(blocking)
        assert "a backup was restored" in blocking[0][1][0].message
        for future in futures:
            assert isinstance(future.exception(DEADLINE_S), DataLoss)
        for client in (*idle, *piping, *(client for client, _, _ in blocking)):
            for _ in range(2):
                with pytest.raises(DataLoss):
                    client.append_message("s", "user", "not into another database")
            with pytest.raises(DataLoss):
                client.submit("session.create", name="n", working_dir="/w").result()
        assert digest_of_rows(home / "lulu.db") == after
        with make_client(home) as client:
            client.append_message("s", "user", "by a new client")


def watch_until_told(changes, told):
    """Follow the changes; what ends it is told."""
    try:
        for _ in changes:
            pass
    except LuludbError as error:
        told.append(error)


def test_every_watcher_is_told_also_one_that_has_seen_nothing_that_was_lost(
    daemon, make_client, tmp_path
):
    home, file = daemon.home, tmp_path / "backup.db"
    with make_client(home, timeout_s=CLIENT_TIMEOUT_S) as client:
        watches = [
            client.watch(),
            client.watch("s", after_rev=0),
            client.watch("no such session"),
        ]
        told = [[] for _ in watches]
        threads = [
            threading.Thread(target=watch_until_told, args=each)
            for each in zip(watches, told, strict=True)
        ]
        for thread in threads:
            thread.start()
        assert luludb(home, "backup", str(file)).returncode == 0
        client.append_message("s", "user", "after the backup")
        daemon.stop()
        restored(home, file)
        daemon.start()

        for thread in threads:
            thread.join(DEADLINE_S)
        assert [type(error) for (error,) in told] == [DataLoss] * len(watches)


def test_open_readers_see_the_restored_rows_at_once(daemon, backup):
    home = daemon.home
    with Client(home) as client, reading(home / "lulu.db") as reader:
        count = "SELECT count(*) FROM messages"
        assert reader.execute(count).fetchone() == (2,)
        assert client.get_message("m2") is not None
        daemon.stop()

        restored(home, backup)

        assert reader.execute(count).fetchone() == (1,)
        assert client.get_message("m2") is None
        daemon.start()
        with Client(home) as other:
            other.append_message("s", "user", "third", id="m3")
        assert reader.execute(count).fetchone() == (2,)
        assert client.get_message("m3").content == "third"


def test_reads_go_on_while_a_database_is_restored(home, tmp_path):
    """Each read finds the old rows or the new ones, and none fails."""
    make_todays_file(tmp_path / "new.db", messages=5000)
    is_over = threading.Event()

    def read_all_along():
        seen = set()
        with Client(home) as client:
            while not is_over.is_set():
                seen.add(len(client.list_sessions(status="done")))
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read_all_along) for _ in range(4)]
        try:
            restored(home, tmp_path / "new.db")
        finally:
            is_over.set()
        for reader in readers:
            assert reader.result(DEADLINE_S) <= {0, 1}
    assert query(home / "lulu.db", "SELECT count(*) FROM messages") == [(5000,)]
