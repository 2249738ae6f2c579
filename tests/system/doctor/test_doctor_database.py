"""What the doctor says of the database and its locks, and that the remedies help."""

import os
import shlex
import time
from pathlib import Path

import pytest

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests import foreign
from tests.system.command_line import DEADLINE_S
from tests.system.doctor.sayings import findings, one, run, write

# The database.


def test_a_damaged_page_is_told_with_how_to_restore(stopped):
    with (stopped / "lulu.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096 * 4))

    found = one(stopped, "integrity")

    assert found.remedy == f"luludb restore BACKUP --home {stopped}"


def test_a_file_that_is_no_database_is_told(stopped):
    for name in ("lulu.db-wal", "lulu.db-shm"):
        (stopped / name).unlink()
    (stopped / "lulu.db").write_bytes(b"no database at all" * 1000)

    assert "not a database" in one(stopped, "integrity").found


def test_a_database_of_a_newer_luludb_is_told(stopped):
    write(stopped, "PRAGMA user_version = 99")

    found = one(stopped, "database")

    assert "upgrade luludb" in found.found
    assert "lulu.db.other && luludb start" in found.remedy


def test_an_index_that_was_dropped_is_told_with_the_statement_that_makes_it(stopped):
    write(stopped, "DROP INDEX idx_messages_session_id")

    found = one(stopped, "indexes")
    (statement,) = [word for word in shlex.split(found.remedy) if word.startswith("CREATE")]
    write(stopped, statement)

    assert [each.check for each in findings(stopped)] == ["daemon"]


def test_a_trigger_is_told_with_the_statement_that_drops_it(daemon):
    write(
        daemon.home,
        "CREATE TABLE others (x)",
        'CREATE TRIGGER "it\'s" AFTER INSERT ON messages BEGIN INSERT INTO others VALUES (1); END',
    )

    found = one(daemon.home, "triggers", "warning")
    (statement,) = [word for word in shlex.split(found.remedy) if word.startswith("DROP")]
    write(daemon.home, statement)

    assert "others" in one(daemon.home, "tables", "note").found
    assert findings(daemon.home) == []


def test_messages_without_a_session_are_told_and_brought_back_by_the_remedy(daemon):
    write(daemon.home, "INSERT INTO messages VALUES ('m', 'lost one', 'user', 'x', '2026')")

    run(one(daemon.home, "orphans", "warning").remedy)

    assert findings(daemon.home) == []
    with Client(daemon.home) as client:
        assert [each.id for each in client.list_messages("lost one")] == ["m"]


def test_a_clock_that_was_set_back_is_told(stopped):
    write(stopped, "UPDATE lulu_changes SET at = '2999-01-01T00:00:00.000000+00:00'")

    assert one(stopped, "clock", "warning").remedy == "timedatectl set-ntp true"


# What keeps the writer waiting.


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_reader_that_keeps_the_log_long_is_named(stopped):
    (stopped / "luludb.toml").write_text('wal_bytes_max = "400 KiB"')
    (stopped / "luludb.toml").chmod(0o600)
    with running_daemon(stopped), foreign.reading(stopped) as pid, Client(stopped) as client:
        client.append_message("s", "user", "x" * 200_000)
        found = one(stopped, "wal", "warning")

    assert found.remedy == f"kill {pid}"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_program_that_holds_the_write_lock_is_named(daemon):
    with foreign.holding_the_write_lock(daemon.home) as pid:
        found = one(daemon.home, "write lock")

    assert found.remedy == f"kill {pid}"


def test_a_program_that_wrote_past_the_daemon_is_a_note(daemon):
    with Client(daemon.home) as client:
        with foreign.holding_the_write_lock(daemon.home):
            waiting = client.submit("session.update", id="s", name="two")
            deadline_s = time.monotonic() + DEADLINE_S
            while client.status()["foreign_writer_waits_total"] == 0:
                assert time.monotonic() < deadline_s
        waiting.result(DEADLINE_S)

    assert one(daemon.home, "other writers", "note").remedy is None
    assert findings(daemon.home) == []
