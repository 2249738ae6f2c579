"""Whether the files are still those that were opened, and what a failure leaves behind.

SQLite goes on committing, and reports success, to a file that was renamed, unlinked or replaced
under it. What is looked at here is looked at with `stat` alone: closing a descriptor of the
database would drop all of this process's locks on it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os

import apsw

from luludb.errors import StartRefused, StorageFailed
from luludb.home import Home
from luludb.platform import machine_boot_id, write_again
from luludb.tables import meta, schema
from luludb.times import now_text

_log = logging.getLogger(__name__)


class FileGuard:
    """Remembers which files were opened and how long they were, and sees when that changes."""

    def __init__(self, connection: apsw.Connection, home: Home) -> None:
        self._connection = connection
        self._identities = {str(path): _identity(str(path)) for path in (home.database, home.wal)}
        self._database = home.database
        self._wal = home.wal
        self._database_bytes_least = self._bytes_that_stay(home.database.stat().st_size)

    def note_compaction(self, database_bytes: int) -> None:
        """Expect that the next checkpoint makes the database's file as short as that."""
        self._database_bytes_least = min(self._database_bytes_least, database_bytes)

    def check(self, wal_bytes_min: int) -> None:
        """Look at the database and its log.

        Args:
            wal_bytes_min: how long the log is at the least, as the last commit left it.

        Raises:
            StorageFailed: one was moved, replaced, removed or truncated.
        """
        self.check_places()
        if self._has_moved():
            raise StorageFailed(f"{self._database} was moved while the daemon ran; put it back")
        found_bytes = self._database.stat().st_size
        if found_bytes < self._database_bytes_least:
            raise StorageFailed(
                f"{self._database} was truncated from {self._database_bytes_least} to {found_bytes}"
                " bytes by another program; restore a backup"
            )
        self._database_bytes_least = self._bytes_that_stay(found_bytes)
        if self._wal.stat().st_size < wal_bytes_min:
            raise StorageFailed(
                f"{self._wal} was truncated below {wal_bytes_min} bytes by another program;"
                " run `sqlite3 lulu.db 'PRAGMA integrity_check'` before the next start"
            )

    def check_places(self) -> None:
        """Look whether the two files are where they were. Quick enough for each answer: some 4 µs.

        Raises:
            StorageFailed: one was moved, replaced or removed.
        """
        for path, opened in self._identities.items():
            if _identity(path) != opened:
                raise StorageFailed(
                    f"{path} is no longer the file that the daemon opened: it was moved, replaced"
                    " or removed. Put it back before the next start, or restore a backup"
                )

    def _bytes_that_stay(self, found_bytes: int) -> int:
        """How much of a file of that length no checkpoint cuts off.

        After a compaction the file stays long until the log is copied back, which readers, or the
        death of a daemon, can put off.
        """
        try:
            pages = int(self._connection.execute("PRAGMA page_count").get)
            return min(found_bytes, pages * int(self._connection.execute("PRAGMA page_size").get))
        except apsw.Error as error:
            raise StorageFailed(f"{self._database} cannot be read: {error}") from error

    def _has_moved(self) -> bool:
        moved = ctypes.c_int(0)
        address = ctypes.addressof(moved)
        self._connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, address)
        return bool(moved.value)


def leave_failure(home: Home, message: str) -> None:
    """Leave a note that storage failed, which the next start heeds."""
    try:
        home.failure.write_text(f"{now_text()} {message}\n", encoding="utf-8")
    except OSError as error:
        _log.error("the note %s could not be written either: %s", home.failure, error)


def heed_failure(connection: apsw.Connection, home: Home) -> None:
    """Where storage failed last time, or the machine was booted since, check before going on.

    After an I/O error the log's pages may be in memory and not on the disk, whatever a later sync
    says, so the whole log is written again and then copied into the database.

    Raises:
        StartRefused: the log could not be copied whole, or the database is damaged.
    """
    failed = home.failure.exists()
    if failed:
        _log.warning("storage failed last time: %s", home.failure.read_text("utf-8").strip())
        _write_log_again(connection, home)
        _checkpoint_all(connection, home)
    if failed or _machine_was_booted(connection):
        _log.info("checking the database")
        verdict = str(connection.execute("PRAGMA quick_check(1)").get)
        if verdict != "ok":
            raise StartRefused(
                f"{home.database} is damaged: {verdict}; restore a backup, or move it away"
                " and have `luludb import` read past the damage (docs/operations.md, Last resort)"
            )
        _log.info("the database is whole")
    if failed:
        with contextlib.suppress(FileNotFoundError):
            home.failure.unlink()


def _write_log_again(connection: apsw.Connection, home: Home) -> None:
    """Write the log's bytes over themselves, under the write lock, and sync them.

    A kernel may take pages for clean that it could not write (Rebello et al., USENIX ATC 2020),
    and syncs them never again. A power cut while such a log is copied into the database would
    leave half of the copy beside a log with a hole. SQLite has no lock on the log's file that
    closing it here could drop.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_again(home.wal)
    except OSError as error:
        raise StorageFailed(f"{home.wal} cannot be written again: {error.strerror}") from error
    finally:
        connection.execute("ROLLBACK")


def _checkpoint_all(connection: apsw.Connection, home: Home) -> None:
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError as error:
        raise StartRefused(
            f"storage failed last time, and programs that read {home.database} keep its log from"
            " being copied back; end them and start again"
        ) from error


def _machine_was_booted(connection: apsw.Connection) -> bool:
    if not schema.read_version(connection):
        return False
    before = meta.read(connection, "machine_boot_id")
    return before is not None and before != machine_boot_id()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # Path.stat takes twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
