"""`lulu_changes`: one row for each applied command, in its transaction. The change feed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from luludb.tables import Connection

ChangeRow = tuple[int, str, str, str | None, str]
"""`(rev, op, session_id, message_id, at)`"""

_SELECT = "SELECT rev, op, session_id, message_id, at FROM lulu_changes"


def add(connection: Any, rows: Iterable[ChangeRow]) -> None:
    """Insert `rows`; their revs follow the last one."""
    connection.executemany("INSERT INTO lulu_changes VALUES (?, ?, ?, ?, ?)", rows)


def delete_below(connection: Connection, rev: int) -> None:
    """Delete the rows before `rev`."""
    connection.execute("DELETE FROM lulu_changes WHERE rev < ?", (rev,))


def get(connection: Connection, rev: int) -> ChangeRow | None:
    """The row of that rev, or None."""
    row: ChangeRow | None = connection.execute(f"{_SELECT} WHERE rev = ?", (rev,)).fetchone()
    return row


def page(
    connection: Connection,
    *,
    above_rev: int,
    through_rev: int,
    session_id: str | None,
    rows_max: int,
) -> list[ChangeRow]:
    """The oldest rows above one rev and up to another, of one session or of all.

    Each row between the two revs is looked at, by the key of the table: the caller bounds them.
    """
    of_session = "" if session_id is None else "AND session_id = ?"
    named = () if session_id is None else (session_id,)
    rows: list[ChangeRow] = connection.execute(
        f"{_SELECT} WHERE rev > ? AND rev <= ? {of_session} ORDER BY rev LIMIT ?",
        (above_rev, through_rev, *named, rows_max),
    ).fetchall()
    return rows


def busiest_sessions(
    connection: Connection, *, above_rev: int, through_rev: int, rows_max: int
) -> list[tuple[str, int]]:
    """Sessions and how many rows each has between two revs, the one with the most first.

    Each row between the two is looked at: the caller bounds them.
    """
    rows: list[tuple[str, int]] = connection.execute(
        "SELECT session_id, count(*) FROM lulu_changes WHERE rev > ? AND rev <= ?"
        " GROUP BY session_id ORDER BY 2 DESC LIMIT ?",
        (above_rev, through_rev, rows_max),
    ).fetchall()
    return rows


def newest(connection: Connection, *, session_id: str | None, rows_max: int) -> list[ChangeRow]:
    """The newest rows, of one session or of all, the oldest of them first."""
    of_session = "" if session_id is None else "WHERE session_id = ?"
    named = () if session_id is None else (session_id,)
    rows: list[ChangeRow] = connection.execute(
        f"{_SELECT} {of_session} ORDER BY rev DESC LIMIT ?", (*named, rows_max)
    ).fetchall()
    return rows[::-1]
