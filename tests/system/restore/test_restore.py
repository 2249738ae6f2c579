"""`luludb restore`: a backup takes the place of the database, and everyone who knew it is told."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.databases import damage, digest_of_rows, make_todays_file, meta_of, query
from tests.system.command_line import luludb
from tests.system.restore.restoring import contents, restored

LEFT_ALONE = {"lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock", "run", "log"}


def refused(home, source):
    """Exit code and message of a restore that must change nothing."""
    result = luludb(home, "restore", str(source))
    assert b"Traceback" not in result.stderr
    assert result.stdout == b""
    return result.returncode, result.stderr.decode()


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
