"""One look into the change feed: the marks and the next rows, of one moment."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from luludb.limits import WATCH_PAGE_ROWS_MAX, WATCH_SCANNED_CHANGES_MAX
from luludb.tables import changes, meta
from luludb.tables.changes import ChangeRow
from luludb.tables.meta import Marks


class Look(NamedTuple):
    """What one look from a rev on found.

    Attributes:
        marks: what `lulu_meta` says.
        at_rev: the row at that rev, None where it is not kept.
        rows: the next ones, of the session that is watched or of all.
        through_rev: the rev up to which no row is missing in `rows`.
        at_through_rev: the row at `through_rev`, of whatever session; None where it is not kept.
    """

    marks: Marks
    at_rev: ChangeRow | None
    rows: list[ChangeRow]
    through_rev: int
    at_through_rev: ChangeRow | None


def read_look(connection: sqlite3.Connection, rev: int | None, session_id: str | None) -> Look:
    """Look for what is behind `rev`, or behind the end of the feed where it is None.

    It reads a bounded part of the feed in one transaction, so that what the marks say of the rows
    is true, and leaves no statement or transaction open.
    """
    connection.execute("BEGIN")
    try:
        marks = meta.read_marks(connection)
        at_rev = changes.get(connection, rev) if rev else None
        start = marks.last_rev if rev is None else max(rev, marks.first_rev - 1)
        rows, through = _next_rows(connection, start, marks.last_rev, session_id)
        at_through = rows[-1] if rows else at_rev
        if at_through is None or at_through[0] != through:
            at_through = changes.get(connection, through)
        return Look(marks, at_rev, rows, through, at_through)
    finally:
        connection.rollback()


def _next_rows(
    connection: sqlite3.Connection, start: int, last_rev: int, session_id: str | None
) -> tuple[list[ChangeRow], int]:
    """The rows of one page behind `start`, and the rev up to which they are whole."""
    if start >= last_rev:
        return [], start
    through = min(start + WATCH_SCANNED_CHANGES_MAX, last_rev)
    rows = changes.page(
        connection,
        above_rev=start,
        through_rev=through,
        session_id=session_id,
        rows_max=WATCH_PAGE_ROWS_MAX,
    )
    is_full = len(rows) == WATCH_PAGE_ROWS_MAX
    return rows, rows[-1][0] if is_full else through
