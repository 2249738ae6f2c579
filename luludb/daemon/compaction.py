"""Compaction: free pages of `lulu.db` given back, some at a time, in a transaction of their own."""

from __future__ import annotations

import logging
import time
from typing import Any, Final, NamedTuple

import apsw

from luludb.daemon.group_commit import GroupCommit
from luludb.daemon.transaction import BatchLost, storage_error
from luludb.errors import Busy, LuludbError, StorageFailed
from luludb.limits import COMPACT_MS_MAX, COMPACT_STEP_PAGES, LOCK_WAIT_MS_MAX

_log = logging.getLogger(__name__)
_NO_AUTO_VACUUM: Final = 0  # sqlite.org/pragma.html#pragma_auto_vacuum


class Compaction(NamedTuple):
    """What one request did, and how the database is behind it.

    Attributes:
        freed_pages: by how many pages fewer are free now.
        free_pages: how many are still free.
        pages: how many the database has, the free ones included.
        is_possible: whether the file keeps what it takes to move pages; see `compact --offline`.
    """

    freed_pages: int
    free_pages: int
    pages: int
    page_bytes: int
    is_possible: bool

    @property
    def is_at_its_end(self) -> bool:
        """Whether nothing is left to give back, or nothing was asked for."""
        return not self.free_pages or not self.freed_pages

    @property
    def database_bytes(self) -> int:
        """How long the file is when the log is copied back."""
        return self.pages * self.page_bytes

    def body(self) -> dict[str, Any]:
        """The body of the reply."""
        return self._asdict()


def give_back_pages(commit: GroupCommit, pages_max: int) -> Compaction:
    """Move pages from the end of the database into free ones, and cut the end off.

    It ends after `COMPACT_MS_MAX`, since nothing else is done meanwhile: how long a page takes
    depends on how many are free, and on the disk.

    Args:
        commit: between two transactions.
        pages_max: of free pages; 0 only tells how many there are.

    Raises:
        Busy: another program held the lock.
        DiskFull: there is no room for the log.
        StorageFailed: the disk failed.
        LuludbError: it is a bug, which costs this request and nothing else.
    """
    try:
        return _give_back(commit.connection, pages_max)
    except apsw.BusyError as error:
        commit.undo()
        raise Busy(f"another program held the database's lock for {LOCK_WAIT_MS_MAX} ms") from error
    except apsw.Error as error:
        commit.undo()
        meaning = storage_error(error)
        raise (meaning.refusal if isinstance(meaning, BatchLost) else meaning) from error
    except StorageFailed:
        raise
    except Exception as error:
        # The border: a bug must not cost the commands that this turn has committed.
        commit.undo()
        _log.exception("a compaction failed")
        raise LuludbError(f"the daemon failed: {type(error).__name__}") from error


def _give_back(connection: apsw.Connection, pages_max: int) -> Compaction:
    is_possible = _value(connection, "auto_vacuum") != _NO_AUTO_VACUUM
    free_before = free = _value(connection, "freelist_count")
    if is_possible and free and pages_max:
        until_s = time.monotonic() + COMPACT_MS_MAX / 1000
        connection.execute("BEGIN IMMEDIATE")
        free_before = free = _value(connection, "freelist_count")
        least = max(free_before - pages_max, 0)
        while free > least and time.monotonic() < until_s:
            step = min(COMPACT_STEP_PAGES, free - least)
            # It frees a page for each row that is fetched.
            connection.execute(f"PRAGMA incremental_vacuum({step})").fetchall()
            free = _value(connection, "freelist_count")
        connection.execute("COMMIT")
    return Compaction(
        freed_pages=free_before - free,
        free_pages=free,
        pages=_value(connection, "page_count"),
        page_bytes=_value(connection, "page_size"),
        is_possible=is_possible,
    )


def _value(connection: apsw.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").get)
