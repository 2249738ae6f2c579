"""When the write-ahead log is copied back into the database, and what came of it."""

from __future__ import annotations

import apsw

from luludb.errors import StorageFailed
from luludb.limits import CHECKPOINT_PAGES_MIN
from luludb.times import now_text


class Checkpoints:
    """Counts the pages in the log and checkpoints between batches, never inside a COMMIT.

    PASSIVE waits for nobody: a long reader keeps the log long but never stops the writer.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        self._pages_next = CHECKPOINT_PAGES_MIN
        self.total = 0
        self.last_at: str | None = None
        connection.set_wal_hook(self._count)

    def _count(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        if pages < self._pages:
            self._pages_next = CHECKPOINT_PAGES_MIN  # everything was copied, and the log began anew
        self._pages = pages
        return apsw.SQLITE_OK

    def run_if_due(self) -> None:
        """Checkpoint if the log has grown by enough pages since the last time.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        if self._pages >= self._pages_next:
            self._run(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def run_at_stop(self) -> None:
        """Copy everything back and empty the log, as far as readers let it.

        Raises:
            StorageFailed: the log or the database could not be synced.
        """
        # A busy handler would wait for readers, and a stop must not.
        self._connection.set_busy_timeout(0)
        self._run(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _run(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError):
            return  # a reader is in the way; the rows are safe in the log
        except apsw.Error as error:
            raise StorageFailed(f"a checkpoint failed: {error}") from error
        self.total += 1
        self.last_at = now_text()
        # While a reader holds a snapshot the log cannot begin anew, however often one tries.
        self._pages_next = self._pages + CHECKPOINT_PAGES_MIN
