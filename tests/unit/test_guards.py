"""Files that were moved, replaced or truncated under the daemon, and the note of a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from luludb.daemon.connection import LockWait, open_database
from luludb.daemon.guards import FileGuard, heed_failure, leave_failure
from luludb.errors import StartRefused, StorageFailed
from luludb.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def connection(home: Home) -> Iterator[apsw.Connection]:
    opened = open_database(home, LockWait(home, lambda: False))
    yield opened
    opened.close()


@pytest.fixture
def guard(connection: apsw.Connection, home: Home) -> FileGuard:
    return FileGuard(connection, home)


def test_files_that_are_where_they_were_are_let_pass(
    guard: FileGuard, connection: apsw.Connection
) -> None:
    connection.execute("CREATE TABLE x (y)")
    connection.wal_checkpoint()

    guard.check(wal_bytes_min=32)


@pytest.mark.parametrize("name", ["lulu.db", "lulu.db-wal"])
@pytest.mark.parametrize("what", ["renamed", "removed", "replaced"])
def test_a_file_that_is_no_longer_the_one_opened_stops_the_daemon(
    guard: FileGuard, home: Home, name: str, what: str
) -> None:
    file = home.path / name
    if what == "renamed":
        file.rename(home.path / "elsewhere")
    elif what == "removed":
        file.unlink()
    else:
        (home.path / "other").write_bytes(b"")
        (home.path / "other").rename(file)

    with pytest.raises(StorageFailed, match=name):
        guard.check(wal_bytes_min=0)


@pytest.mark.parametrize("name", ["lulu.db", "lulu.db-wal"])
def test_a_truncated_file_stops_the_daemon(guard: FileGuard, home: Home, name: str) -> None:
    wal_bytes = home.wal.stat().st_size
    guard.check(wal_bytes_min=wal_bytes)

    # Not opened and closed here: that would drop the locks of this process.
    child_truncate(home.path / name)

    with pytest.raises(StorageFailed, match="truncated"):
        guard.check(wal_bytes_min=wal_bytes)


def child_truncate(path: Path) -> None:
    import os

    os.truncate(path, 0)


def test_after_a_failure_the_log_is_copied_back_and_the_note_removed(
    connection: apsw.Connection, home: Home
) -> None:
    connection.execute("CREATE TABLE x (y)")
    leave_failure(home, "fdatasync failed")

    heed_failure(connection, home)

    assert not home.failure.exists()
    assert home.wal.stat().st_size == 0


def test_after_a_failure_a_reader_in_the_way_of_the_log_refuses_the_start(
    connection: apsw.Connection, home: Home
) -> None:
    connection.set_busy_handler(None)
    reader = apsw.Connection(str(home.database), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sqlite_schema").fetchall()
    connection.execute("CREATE TABLE x (y)")
    leave_failure(home, "fdatasync failed")

    with pytest.raises(StartRefused, match="end them and start again"):
        heed_failure(connection, home)

    assert home.failure.exists()
    reader.close()


def test_a_damaged_database_refuses_the_start_after_a_failure(
    connection: apsw.Connection, home: Home
) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("CREATE TABLE x (y)")
    connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'x'")
    connection.close()
    leave_failure(home, "fdatasync failed")

    with pytest.raises(StartRefused, match="damaged"):
        open_database(home, LockWait(home, lambda: False))

    assert home.failure.exists()


def test_a_boot_of_the_machine_is_followed_by_a_check(
    connection: apsw.Connection, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    heed_failure(connection, home)
    assert "checking" not in caplog.text

    connection.execute("UPDATE lulu_meta SET value = 'before' WHERE key = 'machine_boot_id'")
    heed_failure(connection, home)

    assert "checking the database" in caplog.text


def shortened(connection: apsw.Connection) -> int:
    """Make the database shorter, as a compaction does, and return how long it is then."""
    connection.execute("INSERT INTO x SELECT zeroblob(100000) FROM (VALUES (1), (2), (3))")
    connection.wal_checkpoint()
    connection.execute("DELETE FROM x")
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    pages = int(connection.execute("PRAGMA page_count").get)
    return pages * int(connection.execute("PRAGMA page_size").get)


@pytest.mark.parametrize("is_looked_at_before", [True, False])
def test_a_file_that_a_compaction_made_shorter_is_let_pass(
    connection: apsw.Connection, home: Home, is_looked_at_before: bool
) -> None:
    connection.execute("CREATE TABLE x (y)")
    connection.execute("INSERT INTO x VALUES (zeroblob(1000000))")
    connection.wal_checkpoint()
    guard = FileGuard(connection, home)
    connection.execute("DELETE FROM x")

    guard.note_compaction(shortened(connection))
    if is_looked_at_before:
        guard.check(wal_bytes_min=0)  # while the file is still long
    before = home.database.stat().st_size
    connection.wal_checkpoint()
    guard.check(wal_bytes_min=0)

    assert home.database.stat().st_size < before


def test_a_compaction_before_the_last_start_may_still_shorten_the_file(
    connection: apsw.Connection, home: Home
) -> None:
    connection.execute("CREATE TABLE x (y)")
    shortened(connection)
    before = home.database.stat().st_size
    guard = FileGuard(connection, home)

    connection.wal_checkpoint()
    guard.check(wal_bytes_min=0)

    assert home.database.stat().st_size < before


def test_a_file_truncated_below_a_compacted_database_stops_the_daemon(
    connection: apsw.Connection, home: Home
) -> None:
    connection.execute("CREATE TABLE x (y)")
    guard = FileGuard(connection, home)
    database_bytes = shortened(connection)
    guard.note_compaction(database_bytes)
    connection.wal_checkpoint()
    guard.check(wal_bytes_min=0)

    os.truncate(home.database, database_bytes - 4096)

    with pytest.raises(StorageFailed, match="truncated"):
        guard.check(wal_bytes_min=0)
