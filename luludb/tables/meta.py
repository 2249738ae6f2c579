"""`lulu_meta`: a few values by name. `database_id`, `first_rev` and `last_rev` are for everyone."""

from __future__ import annotations

from typing import Any

from luludb.tables import Connection


def read(connection: Connection, key: str) -> Any:
    """The value of `key`, or None."""
    row = connection.execute("SELECT value FROM lulu_meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def write(connection: Connection, key: str, value: Any) -> None:
    """Set `key` to `value`."""
    connection.execute("INSERT OR REPLACE INTO lulu_meta VALUES (?, ?)", (key, value))
