"""When the log is copied back, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from luludb.daemon import checkpoints as checkpoints_module
from luludb.daemon.checkpoints import Checkpoints
from luludb.daemon.connection import open_database
from luludb.home import Home


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    opened = open_database(Home(tmp_path), lambda: None)
    opened.execute("CREATE TABLE filler (x)")
    yield opened
    opened.close()


def fill(connection: apsw.Connection, pages: int) -> None:
    for _ in range(pages):
        connection.execute("INSERT INTO filler VALUES (zeroblob(3500))")


def test_the_log_is_copied_back_after_enough_pages_and_not_before(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_PAGES_MIN", 50)
    checkpoints = Checkpoints(connection)

    fill(connection, 5)
    checkpoints.run_if_due()
    assert checkpoints.total == 0
    fill(connection, 50)
    checkpoints.run_if_due()

    assert checkpoints.total == 1
    assert checkpoints.last_at is not None


def test_the_log_begins_anew_after_each_checkpoint(
    connection: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_PAGES_MIN", 50)
    checkpoints = Checkpoints(connection)

    for _ in range(40):
        fill(connection, 10)
        checkpoints.run_if_due()

    assert checkpoints.total > 5
    assert Home(tmp_path).wal.stat().st_size < 200 * 4096


def test_a_long_reader_is_not_checkpointed_against_at_every_turn(
    connection: apsw.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_PAGES_MIN", 50)
    checkpoints = Checkpoints(connection)
    reader = apsw.Connection(str(tmp_path / "lulu.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM filler").fetchall()

    for _ in range(100):
        fill(connection, 2)
        checkpoints.run_if_due()

    assert 1 <= checkpoints.total <= 25  # of 100 turns, each with several pages
    reader.close()


def test_a_stop_does_not_wait_for_a_reader(connection: apsw.Connection, tmp_path: Path) -> None:
    checkpoints = Checkpoints(connection)
    reader = apsw.Connection(str(tmp_path / "lulu.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM filler").fetchall()
    fill(connection, 5)

    checkpoints.run_at_stop()

    assert Home(tmp_path).wal.stat().st_size > 0
    reader.close()
