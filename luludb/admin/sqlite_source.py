"""A SQLite file with the two tables, read as an import reads lines."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from luludb.admin.past_damage import Gap, rows_past_damage
from luludb.admin.rows import (
    COLUMNS_OF_MESSAGE,
    COLUMNS_OF_SESSION,
    Refusal,
    Row,
    message_row,
    session_row,
)
from luludb.errors import InvalidRequest
from luludb.limits import READ_BUSY_TIMEOUT_MS

HEADER: Final = b"SQLite format 3\0"  # sqlite.org/fileformat2.html, section 1.3


def _columns(table: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)


# One pass for both tables: where the source has no index on session_id, SQLite makes one for
# the join, and nothing is held here.
_SESSIONS_WITH_MESSAGES: Final = f"""
SELECT sessions.rowid, messages.rowid,
       {_columns("sessions", COLUMNS_OF_SESSION)}, {_columns("messages", COLUMNS_OF_MESSAGE)}
FROM sessions LEFT JOIN messages ON messages.session_id = sessions.id
ORDER BY sessions.rowid, messages.rowid"""
_MESSAGES_WITHOUT_SESSION: Final = f"""
SELECT {_columns("messages", COLUMNS_OF_MESSAGE)} FROM messages
WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = messages.session_id)
ORDER BY messages.rowid"""
_COUNT: Final = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM messages)"


def open_sqlite(path: Path) -> sqlite3.Connection:
    """A connection to `path` that cannot write, within one snapshot, to be closed by the caller.

    It may be damaged, as long as its schema can be read.

    Raises:
        InvalidRequest: it cannot be read, or has not the two tables with all their columns.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = None
    try:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=READ_BUSY_TIMEOUT_MS / 1000
        )
        connection.text_factory = _text_or_bytes
        connection.execute("BEGIN")
        for statement in (_SESSIONS_WITH_MESSAGES, _MESSAGES_WITHOUT_SESSION):
            connection.execute(f"{statement} LIMIT 0").fetchall()
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise InvalidRequest(
            f"{path} is a SQLite file that cannot be imported: {error};"
            " needed are the tables sessions and messages with all their columns"
        ) from error
    return connection


def count_rows(connection: sqlite3.Connection) -> int | None:
    """How many rows there are to import; None where damage keeps from counting them."""
    try:
        return int(connection.execute(_COUNT).fetchone()[0])
    except sqlite3.DatabaseError:
        return None


def read_rows(connection: sqlite3.Connection) -> Iterator[Row | Refusal]:
    """Sessions in rowid order, each followed by its messages in rowid order.

    Messages whose session is not there come last. Where damage is met, all that can be read comes
    once more, each table for itself and without its indexes, with a refusal for what cannot.
    `line` is a row's running number in this order.
    """
    line = 0
    try:
        for kind, values in _all_values(connection):
            line += 1
            yield _row(line, kind, values)
    except sqlite3.DatabaseError:
        for kind, found in _values_past_damage(connection):
            line += 1
            if isinstance(found, Gap):
                yield Refusal(line, InvalidRequest.code, str(found))
            else:
                yield _row(line, kind, found)


def _all_values(connection: sqlite3.Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    split = 2 + len(COLUMNS_OF_SESSION)
    session_before = None
    for values in connection.execute(_SESSIONS_WITH_MESSAGES):
        if values[0] != session_before:
            session_before = values[0]
            yield "session", dict(zip(COLUMNS_OF_SESSION, values[2:split], strict=True))
        if values[1] is not None:
            yield "message", dict(zip(COLUMNS_OF_MESSAGE, values[split:], strict=True))
    for values in connection.execute(_MESSAGES_WITHOUT_SESSION):
        yield "message", dict(zip(COLUMNS_OF_MESSAGE, values, strict=True))


def _values_past_damage(
    connection: sqlite3.Connection,
) -> Iterator[tuple[str, dict[str, Any] | Gap]]:
    for kind, table, columns in (
        ("session", "sessions", COLUMNS_OF_SESSION),
        ("message", "messages", COLUMNS_OF_MESSAGE),
    ):
        for found in rows_past_damage(connection, table, ", ".join(columns)):
            if isinstance(found, Gap):
                yield kind, found
            else:
                yield kind, dict(zip(columns, found, strict=True))


def _row(line: int, kind: str, values: dict[str, Any]) -> Row | Refusal:
    try:
        if kind == "session":
            return session_row(line, values)
        return message_row(line, values)
    except InvalidRequest as error:
        return Refusal(line, error.code, error.message)


def _text_or_bytes(value: bytes) -> str | bytes:
    # A TEXT that is not UTF-8 refuses its own row; sqlite3's own conversion would end the whole.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
