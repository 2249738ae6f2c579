"""When the log is copied back, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from luludb.daemon import checkpoints as checkpoints_module
from luludb.daemon.checkpoints import Checkpoints
from luludb.daemon.connection import LockWait, open_database
from luludb.home import Home


@pytest.fixture
def lock_wait(tmp_path: Path) -> LockWait:
    return LockWait(Home(tmp_path), lambda: False)


@pytest.fixture
def connection(tmp_path: Path, lock_wait: LockWait) -> Iterator[apsw.Connection]:
    opened = open_database(Home(tmp_path), lock_wait)
    opened.execute("CREATE TABLE filler (x)")
    yield opened
    opened.close()


@pytest.fixture
def checkpoints(
    connection: apsw.Connection,
    lock_wait: LockWait,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Checkpoints:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_PAGES_MIN", 50)
    return Checkpoints(connection, lock_wait, Home(tmp_path), wal_bytes_max=2 << 20)


@pytest.fixture
def reader(tmp_path: Path, connection: apsw.Connection) -> Iterator[apsw.Connection]:
    """A connection that holds a snapshot."""
    opened = apsw.Connection(str(tmp_path / "lulu.db"), flags=apsw.SQLITE_OPEN_READONLY)
    opened.execute("BEGIN")
    opened.execute("SELECT count(*) FROM filler").fetchall()
    yield opened
    opened.close()


def fill(connection: apsw.Connection, pages: int) -> None:
    for _ in range(pages):
        connection.execute("INSERT INTO filler VALUES (zeroblob(3500))")


def test_the_log_is_copied_back_after_enough_pages_and_not_before(
    connection: apsw.Connection, checkpoints: Checkpoints
) -> None:
    fill(connection, 5)
    checkpoints.run_if_due()
    assert checkpoints.total == 0
    fill(connection, 50)
    checkpoints.run_if_due()

    assert checkpoints.total == 1
    assert checkpoints.last_at is not None


def test_large_commits_are_copied_back_several_together(
    connection: apsw.Connection, checkpoints: Checkpoints
) -> None:
    for _ in range(12):
        with connection:
            fill(connection, 60)
        checkpoints.run_if_due()

    assert checkpoints.total == 3


def test_the_log_begins_anew_after_each_checkpoint(
    connection: apsw.Connection, checkpoints: Checkpoints
) -> None:
    for _ in range(40):
        fill(connection, 10)
        checkpoints.run_if_due()

    assert checkpoints.total > 5
    assert checkpoints.wal_bytes() < 200 * 4096


def test_a_long_reader_is_not_checkpointed_against_at_every_turn(
    connection: apsw.Connection, checkpoints: Checkpoints, reader: apsw.Connection
) -> None:
    for _ in range(100):
        fill(connection, 2)
        checkpoints.run_if_due()

    assert 1 <= checkpoints.total <= 25  # of 100 turns, each with several pages
    assert reader.in_transaction


def test_a_stop_does_not_wait_for_a_reader(
    connection: apsw.Connection, checkpoints: Checkpoints, reader: apsw.Connection
) -> None:
    fill(connection, 5)

    checkpoints.run_at_stop()

    assert checkpoints.wal_bytes() > 0
    assert reader.in_transaction


def test_a_log_at_its_bound_refuses_commands_until_the_reader_leaves(
    connection: apsw.Connection, checkpoints: Checkpoints, reader: apsw.Connection
) -> None:
    until_overloaded(connection, checkpoints)
    fill(connection, 10)
    checkpoints.shrink()
    refusal = checkpoints.overload()
    assert refusal is not None
    assert str(2 << 20) in refusal.message

    reader.execute("COMMIT")
    checkpoints.shrink()

    assert checkpoints.overload() is None
    assert checkpoints.wal_bytes() == 0


def test_a_log_of_exactly_its_bound_is_emptied_too(
    connection: apsw.Connection, lock_wait: LockWait, tmp_path: Path
) -> None:
    frame_bytes = 24 + 4096
    bound = 32 + 100 * frame_bytes
    checkpoints = Checkpoints(connection, lock_wait, Home(tmp_path), wal_bytes_max=bound)
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    while checkpoints.wal_bytes() < bound:
        connection.execute("UPDATE lulu_meta SET value = value + 1 WHERE key = 'last_rev'")
    assert checkpoints.wal_bytes() == bound
    assert checkpoints.overload() is not None

    checkpoints.shrink()

    assert checkpoints.overload() is None


def until_overloaded(connection: apsw.Connection, checkpoints: Checkpoints) -> None:
    for _ in range(200):
        if checkpoints.overload() is not None:
            return
        fill(connection, 10)
    raise AssertionError("the log has no bound")


def test_the_log_is_never_shorter_than_the_last_commit_left_it(
    connection: apsw.Connection, checkpoints: Checkpoints
) -> None:
    for _ in range(30):
        fill(connection, 7)
        assert 0 < checkpoints.wal_bytes_min <= checkpoints.wal_bytes()
        checkpoints.run_if_due()
