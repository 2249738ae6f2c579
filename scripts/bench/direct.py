"""SQLite without luludb: each process writes the file itself, as `sqlite3.connect(timeout=5)`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.bench.rows import Message, Session
from scripts.bench.systems import CallFailed, KeptRows
from scripts.load.journal import LOCKED
from scripts.load.writer import PLAIN_SCHEMA, PLAIN_TIMEOUT_S

KEEPS_ROWS = True
DATABASE = "lulu.db"
INSERT_SESSION = "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)"
INSERT_MESSAGE = "INSERT INTO messages VALUES (?, ?, ?, ?, ?)"
# A session is set-up and not measured; 64 processes may all want the lock at once.
SESSION_ATTEMPTS_MAX = 20


def reason_missing() -> str | None:
    return None


def version() -> str:
    return f"SQLite {sqlite3.sqlite_version} of Python's sqlite3"


def settings() -> str:
    return (
        f"WAL, synchronous FULL or NORMAL, foreign_keys ON, busy timeout {PLAIN_TIMEOUT_S:g} s;"
        " the connection is opened once, and each append is BEGIN IMMEDIATE, INSERT, COMMIT"
    )


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    """There is no server: the file with its empty tables is all."""
    del durability  # is a matter of each connection
    with contextlib.closing(sqlite3.connect(directory / DATABASE)) as connection:
        connection.executescript(PLAIN_SCHEMA)
    yield None


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[DirectClient]:
    connection = sqlite3.connect(
        directory / DATABASE, timeout=PLAIN_TIMEOUT_S, isolation_level=None
    )
    with contextlib.closing(connection):
        connection.execute(f"PRAGMA synchronous = {durability}")
        connection.execute("PRAGMA foreign_keys = ON")
        yield DirectClient(connection)


class DirectClient:
    """One connection of one process."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def create_session(self, session: Session) -> None:
        for attempt in range(1, SESSION_ATTEMPTS_MAX + 1):
            try:
                return self._write(INSERT_SESSION, [session])
            except CallFailed:
                if attempt == SESSION_ATTEMPTS_MAX:
                    raise
        return None

    def append(self, message: Message) -> None:
        try:
            self._execute("BEGIN IMMEDIATE")
            self._execute(INSERT_MESSAGE, message)
            self._execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def append_together(self, messages: Sequence[Message]) -> None:
        self._write(INSERT_MESSAGE, messages)

    def _write(self, statement: str, rows: Sequence[Message] | Sequence[Session]) -> None:
        try:
            self._execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, rows)
            self._execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        if self._connection.in_transaction:
            self._execute("ROLLBACK")
        locked = error.sqlite_errorname.startswith("SQLITE_BUSY")
        raise CallFailed(LOCKED if locked else error.sqlite_errorname) from error


@contextlib.contextmanager
def kept_rows(directory: Path) -> Iterator[KeptRows]:
    """Read-only, with the standard library's sqlite3, whoever wrote the file."""
    uri = f"{(directory / DATABASE).absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(10)")]
        if found != ["ok"]:
            raise ValueError(f"{directory / DATABASE} is damaged: {'; '.join(found)}")
        yield (
            connection.execute("SELECT id, name, status, working_dir FROM sessions"),
            connection.execute(
                "SELECT id, session_id, role, content, timestamp FROM messages ORDER BY rowid"
            ),
        )
