"""When the write-ahead log is copied back into the database, and what a long reader does to it."""

from __future__ import annotations

import logging
import time

import apsw

from luludb.daemon.connection import LockWait
from luludb.errors import Overloaded, StorageFailed
from luludb.home import Home
from luludb.limits import (
    CHECKPOINT_COMMITS_MIN,
    CHECKPOINT_PAGES_MIN,
    WAL_BYTES_SHRUNK_MIN,
    WAL_WARNING_S,
)
from luludb.platform import READ_LOCK_BYTES, described_process, lock_holders
from luludb.times import now_text

_log = logging.getLogger(__name__)
_WAL_HEADER_BYTES = 32  # sqlite.org/fileformat2.html, section 4
_FRAME_HEADER_BYTES = 24


class Checkpoints:
    """Counts the pages in the log and checkpoints between batches, never inside a COMMIT.

    PASSIVE waits for nobody: a long reader keeps the log long but never stops the writer.
    """

    def __init__(
        self, connection: apsw.Connection, lock_wait: LockWait, home: Home, *, wal_bytes_max: int
    ) -> None:
        self._connection = connection
        self._lock_wait = lock_wait
        self._home = home
        self._wal_bytes_max = wal_bytes_max
        self._frame_bytes = int(connection.execute("PRAGMA page_size").get) + _FRAME_HEADER_BYTES
        self._pages = 0
        self._pages_copied = 0  # how many the log had at the last try
        self._commit_pages = 0  # how many the last commit added
        self._warned_s = -float(WAL_WARNING_S)
        self.total = 0
        self.last_at: str | None = None
        connection.set_wal_hook(self._count)

    @property
    def wal_bytes_min(self) -> int:
        """How long the log's file is at the least, as the last commit left it."""
        return self._pages * self._frame_bytes + _WAL_HEADER_BYTES if self._pages else 0

    def wal_bytes(self) -> int:
        """How long the log's file is."""
        try:
            return self._home.wal.stat().st_size
        except FileNotFoundError:
            return 0

    def overload(self) -> Overloaded | None:
        """The refusal for new commands while the log is as long as it may get, else None."""
        if self.wal_bytes_min < self._wal_bytes_max:
            return None
        return Overloaded(
            f"the write-ahead log has {self.wal_bytes_min} bytes; the most is"
            f" {self._wal_bytes_max}. It cannot shrink while {self._readers()} reads"
        )

    def run_if_due(self) -> None:
        """Checkpoint if the log has grown by enough pages since the last time.

        Large commits write many pages again that the ones before wrote, as an import does in the
        indexes: a checkpoint behind each took a third of its time.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        pages_min = max(CHECKPOINT_PAGES_MIN, CHECKPOINT_COMMITS_MIN * self._commit_pages)
        if self._pages - self._pages_copied >= pages_min:
            self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def run(self) -> None:
        """Checkpoint, however short the log is.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def shrink(self) -> None:
        """Empty a log that grew long, as soon as no reader needs it; say who does.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        wal_bytes = self.wal_bytes()
        if wal_bytes < min(WAL_BYTES_SHRUNK_MIN, self._wal_bytes_max):
            return
        if self._run(apsw.SQLITE_CHECKPOINT_TRUNCATE):
            _log.debug("emptied the write-ahead log of %d bytes", wal_bytes)
            return
        now_s = time.monotonic()
        if wal_bytes > self._wal_bytes_max // 4 and now_s - self._warned_s >= WAL_WARNING_S:
            self._warned_s = now_s
            _log.warning(
                "the write-ahead log has %d bytes and cannot shrink while %s reads; at %d bytes"
                " commands are refused as overloaded",
                wal_bytes,
                self._readers(),
                self._wal_bytes_max,
            )

    def run_at_stop(self) -> None:
        """Copy everything back and empty the log, as far as readers let it.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        self._run(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _run(self, mode: int) -> bool:
        """Checkpoint without waiting for anyone. Returns whether nothing was in the way."""
        # While a reader holds a snapshot the log cannot begin anew, however often one tries.
        self._pages_copied = self._pages
        self._lock_wait.patient = False
        try:
            self._connection.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError):
            return False
        except apsw.FullError:
            _log.warning(
                "no room on the disk to copy the write-ahead log back; the rows are safe in it"
            )
            return False
        except apsw.Error as error:
            raise StorageFailed(f"a checkpoint failed: {error}") from error
        finally:
            self._lock_wait.patient = True
        if mode == apsw.SQLITE_CHECKPOINT_TRUNCATE:
            self._pages = self._pages_copied = 0
        self.total += 1
        self.last_at = now_text()
        return True

    def _count(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        if pages < self._pages:
            self._pages = self._pages_copied = 0  # everything was copied, and the log began anew
        self._commit_pages = pages - self._pages
        self._pages = pages
        return apsw.SQLITE_OK

    def _readers(self) -> str:
        holders = lock_holders(self._home.shared_memory, *READ_LOCK_BYTES)
        return ", ".join(map(described_process, holders)) or "some program"
