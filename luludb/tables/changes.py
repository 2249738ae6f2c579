"""`lulu_changes`: one row for each applied command, in its transaction. The change feed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from luludb.tables import Connection

ChangeRow = tuple[int, str, str, str | None, str]
"""`(rev, op, session_id, message_id, at)`"""


def add(connection: Any, rows: Iterable[ChangeRow]) -> None:
    """Insert `rows`; their revs follow the last one."""
    connection.executemany("INSERT INTO lulu_changes VALUES (?, ?, ?, ?, ?)", rows)


def delete_below(connection: Connection, rev: int) -> None:
    """Delete the rows before `rev`."""
    connection.execute("DELETE FROM lulu_changes WHERE rev < ?", (rev,))
