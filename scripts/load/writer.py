"""One orchestrator process: writes rows to luludb or to plain SQLite, and keeps a journal.

Run by `crowd` as `python -m scripts.load.writer ASSIGNMENT`, the assignment as JSON. It prints
`ready`, waits for a line on standard input, writes, and ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luludb.errors import LuludbError
from luludb.times import now_text
from luludb_client import Client

from .conversations import Conversation, MessageRow, Row, SessionRow, rows_of
from .journal import LOCKED, JournalWriter, digest_of

PLAIN_TIMEOUT_S = 5.0
PLAIN_SCHEMA = """
PRAGMA journal_mode = WAL;
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
Send = Callable[[Row], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one writer does.

    Attributes:
        home: of luludb; None to write to `database` with plain sqlite3.
        database: the file that is written.
        conversations: a file made by `crowd.deal`.
        journal: where the writer notes what happens.
        messages: how many to write; None for as many as the time allows.
        seconds: when to stop, at the latest.
        window: unanswered commands at a time; 1 is a blocking call a message.
        durability: `normal` or `full`, of plain SQLite; luludb's is the daemon's own.
        timeout_s: of each call of luludb's client.
    """

    home: str | None
    database: str
    conversations: str
    journal: str
    messages: int | None
    seconds: float
    window: int
    durability: str
    timeout_s: float


def write_rows(assignment: Assignment, send: Send, conversations: list[Conversation]) -> None:
    """Send rows until the messages are written or the time is over."""
    deadline = time.monotonic() + assignment.seconds
    left = assignment.messages
    for row in rows_of(conversations):
        if left == 0 or time.monotonic() >= deadline:
            return
        send(row)
        if left is not None and isinstance(row, MessageRow):
            left -= 1


@contextlib.contextmanager
def luludb_sender(assignment: Assignment, journal: JournalWriter) -> Iterator[Send]:
    """How a row is sent with a client; the client is flushed and closed at the end."""
    with Client(assignment.home, timeout_s=assignment.timeout_s) as client:
        client.ping()
        if assignment.window == 1:
            yield functools.partial(_send_blocking, client, journal)
        else:
            pipeline = _Pipeline(client, journal, assignment.window)
            yield pipeline.send
            pipeline.finish()


def _send_blocking(client: Client, journal: JournalWriter, row: Row) -> None:
    note_sent(journal, row)
    began = time.perf_counter()
    try:
        match row:
            case SessionRow():
                client.create_session(row.name, row.working_dir, id=row.id)
            case MessageRow(id, session_id, role, content, timestamp):
                client.append_message(session_id, role, content, id=id, timestamp=timestamp)
    except LuludbError as error:
        journal.failed(row.id, error.code)
    else:
        journal.acknowledged(row.id, time.perf_counter() - began)


class _Pipeline:
    """Sends without waiting, with at most `window` commands unanswered."""

    def __init__(self, client: Client, journal: JournalWriter, window: int) -> None:
        self._client = client
        self._journal = journal
        self._window = window
        self._places = threading.Semaphore(window)

    def send(self, row: Row) -> None:
        self._places.acquire()
        note_sent(self._journal, row)
        op = "session.create" if isinstance(row, SessionRow) else "message.append"
        began = time.perf_counter()
        try:
            future = self._client.submit(op, **row._asdict())
        except LuludbError as error:
            self._journal.failed(row.id, error.code)
            self._places.release()
        else:
            future.add_done_callback(functools.partial(self._note, row.id, began))

    def finish(self) -> None:
        """Wait until every answer is noted; each future ends by itself after the call's timeout."""
        for _ in range(self._window):
            self._places.acquire()

    def _note(self, id: str, began: float, future: Future[Any]) -> None:
        latency_s = time.perf_counter() - began
        error = future.exception()
        if error is None:
            self._journal.acknowledged(id, latency_s)
        else:
            self._journal.failed(id, getattr(error, "code", type(error).__name__))
        self._places.release()


@contextlib.contextmanager
def plain_sender(assignment: Assignment, journal: JournalWriter) -> Iterator[Send]:
    """How a row is written as programs do without luludb: a transaction of its own a row."""
    connection = sqlite3.connect(assignment.database, timeout=PLAIN_TIMEOUT_S, isolation_level=None)
    with contextlib.closing(connection):
        connection.execute(f"PRAGMA synchronous = {assignment.durability}")
        connection.execute("PRAGMA foreign_keys = ON")
        yield functools.partial(_send_plainly, connection, journal)


def _send_plainly(connection: sqlite3.Connection, journal: JournalWriter, row: Row) -> None:
    note_sent(journal, row)
    # A message that meets an error is given up and counted; a session is tried again, because
    # without it every message of the conversation would fail for another reason.
    while not _insert(connection, journal, row) and isinstance(row, SessionRow):
        pass


def _insert(connection: sqlite3.Connection, journal: JournalWriter, row: Row) -> bool:
    began = time.perf_counter()
    try:
        connection.execute("BEGIN IMMEDIATE")
        match row:
            case SessionRow(id, name, working_dir):
                now = now_text()
                values = (id, name, "created", working_dir, now, now)
                connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", values)
            case MessageRow():
                connection.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", row)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        locked = error.sqlite_errorname.startswith("SQLITE_BUSY")
        journal.failed(row.id, LOCKED if locked else error.sqlite_errorname)
        return False
    journal.acknowledged(row.id, time.perf_counter() - began)
    return True


def note_sent(journal: JournalWriter, row: Row) -> None:
    """Note `row` before it is sent, so that no row in the database is one that nobody sent."""
    match row:
        case SessionRow(id, name, working_dir):
            journal.session_sent(id, digest=digest_of(name, "created", working_dir))
        case MessageRow():
            digest = digest_of(*row[1:])
            journal.message_sent(row.id, session_id=row.session_id, digest=digest)


def main() -> None:
    """Do the assignment of the first argument."""
    assignment = Assignment(**json.loads(sys.argv[1]))
    dealt = json.loads(Path(assignment.conversations).read_text(encoding="utf-8"))
    conversations = [Conversation(*columns) for columns in dealt]
    sender = plain_sender if assignment.home is None else luludb_sender
    with JournalWriter(Path(assignment.journal)) as journal:
        with sender(assignment, journal) as send:
            print("ready", flush=True)
            if not sys.stdin.readline():
                return  # the crowd is gone
            began_s = time.monotonic()
            write_rows(assignment, send, conversations)
        journal.times(began_s=began_s, ended_s=time.monotonic())


if __name__ == "__main__":
    main()
