"""`lulu_meta`: a few values by name. `database_id`, `first_rev` and `last_rev` are for everyone."""

from __future__ import annotations

from typing import Any, NamedTuple

from luludb.tables import Connection


class Marks(NamedTuple):
    """Which database this is, and the revs of the oldest change kept and of the last one."""

    database_id: str
    first_rev: int
    last_rev: int


def read(connection: Connection, key: str) -> Any:
    """The value of `key`, or None."""
    row = connection.execute("SELECT value FROM lulu_meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def read_marks(connection: Connection) -> Marks:
    """The values that are for everyone, by one statement and so of one moment."""
    found = dict(
        connection.execute(
            "SELECT key, value FROM lulu_meta WHERE key IN ('database_id', 'first_rev', 'last_rev')"
        ).fetchall()
    )
    return Marks(**found)


def write(connection: Connection, key: str, value: Any) -> None:
    """Set `key` to `value`."""
    # Not INSERT OR REPLACE, which writes the key's index anew too: a page more in each commit.
    connection.execute(
        "INSERT INTO lulu_meta VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
