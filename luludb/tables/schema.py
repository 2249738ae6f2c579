"""The schema, its versions, and the way of a file from one to the next.

`sessions`, `messages` and `idx_messages_session_id` are exactly those of the `lulu.db` files that
other programs made; such a file has user_version 0 and keeps every row. What luludb adds has a
name that begins with `lulu_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from luludb.errors import StartRefused
from luludb.ids import new_random_id
from luludb.tables import Connection

SCHEMA_VERSION = 1

_COLUMNS = {
    "sessions": ("id", "name", "status", "working_dir", "created_at", "updated_at"),
    "messages": ("id", "session_id", "role", "content", "timestamp"),
}

_OWN_TABLES = ("lulu_changes", "lulu_meta", "lulu_clients", "lulu_replies")

_SHARED_TABLES = (
    """CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'created',
    working_dir TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
)""",
    "CREATE INDEX IF NOT EXISTS idx_messages_session_id ON messages(session_id)",
)

_VERSION_1 = (
    "CREATE INDEX lulu_sessions_created ON sessions(created_at, id)",
    "CREATE INDEX lulu_sessions_status ON sessions(status, created_at, id)",
    "CREATE INDEX lulu_sessions_working_dir ON sessions(working_dir, created_at, id)",
    """CREATE TABLE lulu_changes (
    rev INTEGER PRIMARY KEY,
    op TEXT,
    session_id TEXT,
    message_id TEXT,
    at TEXT
)""",
    "CREATE TABLE lulu_meta (key TEXT PRIMARY KEY, value)",
    """CREATE TABLE lulu_clients (
    id INTEGER PRIMARY KEY,
    client_id BLOB NOT NULL UNIQUE,
    used_s INTEGER NOT NULL
)""",
    """CREATE TABLE lulu_replies (
    id INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    acked INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    replies BLOB NOT NULL
)""",
)

_INDEX_NAME = re.compile(r"CREATE INDEX (?:IF NOT EXISTS )?(\w+)")


def rows_in_order(connection: Connection) -> Iterator[tuple[Any, ...]]:
    """Every row of every table of luludb's that is there, each with its rowid, in that order."""
    for table in (*_COLUMNS, *_OWN_TABLES):
        if _columns_of(connection, table):
            yield from connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid")


def read_version(connection: Connection) -> int:
    """The file's `user_version`: 0 for a new one and for one made elsewhere."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def is_empty(connection: Connection) -> bool:
    """Whether the file has no table yet."""
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def has_triggers(connection: Connection) -> bool:
    """Whether somebody added a trigger; luludb has none."""
    return (
        connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'trigger' LIMIT 1").fetchone()
        is not None
    )


def missing_indexes(connection: Connection) -> list[str]:
    """The statements that make the indexes of the file's version that are not there."""
    found = _names(connection, "index")
    made = (*_SHARED_TABLES, *(_VERSION_1 if read_version(connection) else ()))
    return [
        statement
        for statement in made
        if (name := _INDEX_NAME.match(statement)) and name[1] not in found
    ]


def foreign_tables(connection: Connection) -> list[str]:
    """The tables that are not luludb's."""
    own = {*_COLUMNS, *_OWN_TABLES}
    return [
        name
        for name in _names(connection, "table")
        if name not in own and not name.startswith("sqlite_")
    ]


def triggers(connection: Connection) -> list[str]:
    """The triggers that other programs added to the tables; luludb has none."""
    return _names(connection, "trigger")


def _names(connection: Connection, kind: str) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = ?", (kind,)).fetchall()
    return [str(name) for (name,) in rows]


def check_is_ours(connection: Connection, *, name: str = "lulu.db") -> int:
    """The file's version, where luludb may write to it. Changes nothing in it.

    Args:
        connection: to the file.
        name: what messages call it.

    Raises:
        StartRefused: the file is of a newer version, or its tables are not those of `lulu.db`.
    """
    version = read_version(connection)
    if version > SCHEMA_VERSION:
        raise StartRefused(
            f"{name} has schema version {version} and this luludb knows up to {SCHEMA_VERSION};"
            " upgrade luludb, or use another home"
        )
    if version == 0:
        for table in _COLUMNS:
            _check_table(connection, table, name)
    return version


def check_is_whole(connection: Connection, *, name: str) -> None:
    """That the file could be a `lulu.db` as it stands: every table of its version is there.

    `user_version` alone does not tell: many programs count theirs from 1 as well.

    Raises:
        StartRefused: it is of a newer version, or a table is missing or another one.
    """
    version = check_is_ours(connection, name=name)
    for table in (*_COLUMNS, *(_OWN_TABLES if version else ())):
        if not _columns_of(connection, table):
            raise StartRefused(f"{name} is no lulu.db: it has no table {table}")
    for table in _COLUMNS:
        _check_table(connection, table, name)


def migrate(connection: Connection) -> int:
    """Bring the file to `SCHEMA_VERSION`, inside a transaction that the caller holds.

    Returns:
        The version it had.

    Raises:
        StartRefused: the file is of a newer version, or its tables are not those of `lulu.db`.
    """
    version = check_is_ours(connection)
    if version == SCHEMA_VERSION:
        return version
    for statement in _SHARED_TABLES:
        connection.execute(statement)
    for statement in _VERSION_1:
        connection.execute(statement)
    for key, value in (("database_id", new_random_id()), ("first_rev", 1), ("last_rev", 0)):
        connection.execute("INSERT INTO lulu_meta VALUES (?, ?)", (key, value))
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return version


def _columns_of(connection: Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})").fetchall()]


def _check_table(connection: Connection, table: str, name: str) -> None:
    columns = _columns_of(connection, table)
    if not columns:
        return  # it is not there yet
    if sorted(columns) != sorted(_COLUMNS[table]):
        raise StartRefused(
            f"{name} was made by another program: its table {table} has the columns"
            f" {', '.join(columns)}; luludb works on exactly {', '.join(_COLUMNS[table])}."
            " Use another home and bring the rows over with `luludb import`"
        )
    if table == "messages":
        keys = connection.execute("PRAGMA foreign_key_list(messages)").fetchall()
        if not any(row[2].lower() == "sessions" and row[6] == "CASCADE" for row in keys):
            raise StartRefused(
                f"{name} was made by another program: its table messages lacks the foreign key"
                " REFERENCES sessions(id) ON DELETE CASCADE."
                " Use another home and bring the rows over with `luludb import`"
            )
