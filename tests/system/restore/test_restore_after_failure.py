"""`luludb restore` after a failure: a damaged database is saved as it is, and replaced."""

import os
from pathlib import Path

import pytest

from luludb.home import Home
from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.databases import damage, digest_of_rows, reading
from tests.serving import refused_start
from tests.system.restore.restoring import contents, restored


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
