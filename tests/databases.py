"""What tests ask of a database file, over a read-only connection of the standard library."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

TODAYS_SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'created',
    working_dir TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE messages (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);
CREATE INDEX idx_messages_session_id ON messages(session_id);
"""
TIME = "2026-01-02T03:04:05.000006+00:00"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write."""
    uri = f"file:{quote(str(path))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection


def query(path: Path, sql: str) -> list[Any]:
    """All rows of a query."""
    with reading(path) as connection:
        return connection.execute(sql).fetchall()


def damage(path: Path) -> list[str]:
    """What SQLite's own checks find; a message without its session is damage too."""
    with reading(path) as connection:
        found = [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
        found += [f"orphan {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    return found


def digest_of_rows(path: Path) -> str:
    """A digest of every row of the two tables, in the order of their rowids."""
    with reading(path) as connection:
        rows = [
            connection.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid").fetchall()
            for table in ("sessions", "messages")
        ]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def meta_of(path: Path) -> dict[str, Any]:
    """What `lulu_meta` holds."""
    return dict(query(path, "SELECT key, value FROM lulu_meta"))


def make_todays_file(path: Path, *, page_bytes: int = 4096, messages: int = 3) -> None:
    """A `lulu.db` as the programs before luludb made it: user_version 0, one session."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.executescript(TODAYS_SCHEMA)
        connection.execute(
            "INSERT INTO sessions VALUES ('old', 'n', 'done', '/w', ?, ?)", (TIME, TIME)
        )
        connection.executemany(
            "INSERT INTO messages VALUES (?, 'old', 'user', ?, ?)",
            [(f"m{number}", "x" * number, TIME) for number in range(messages)],
        )
