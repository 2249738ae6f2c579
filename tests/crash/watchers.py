"""A watcher of the change feed, a process of its own that writes down what it is given.

    python -m tests.crash.watchers ORDER

The order is JSON. A watcher that is started again with the same order goes on behind the last
change in its notes. It ends with its standard input, or by being killed.

Its notes are lines, each written by one call of the operating system. Times are those of the
wall clock, as the feed's own are:

    b BEFORE AFTER TIME                    it watches from a rev on that lies between these two
    c REV OP SESSION_ID MESSAGE_ID TIME    a change was given; `-` where there is no message
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from luludb_client import AsyncClient, Change, Client
from tests.databases import reading

READ_S_MAX = 30.0
READ_PAUSE_S = 0.01
NEWEST = "SELECT value FROM lulu_meta WHERE key = 'last_rev'"
OLDEST, NOW, A_REV = "oldest", "now", "a rev"
Row = tuple[int, str, str, str | None]
"""`(rev, op, session_id, message_id)`"""


class Role(NamedTuple):
    """A sort of watcher: its kind, whether of all sessions or of one, and where it begins."""

    kind: str
    is_of_all: bool
    begins: str

    @property
    def is_early(self) -> bool:
        """Whether it begins before there is a change."""
        return self.is_of_all and self.begins != A_REV


ROLES = (
    Role("blocking", True, OLDEST),
    Role("asyncio", False, A_REV),
    Role("asyncio", True, NOW),
    Role("blocking", False, OLDEST),
    Role("asyncio", True, OLDEST),
    Role("blocking", False, NOW),
    Role("blocking", True, A_REV),
    Role("asyncio", False, OLDEST),
)
"""Eight; half are of all sessions, half begin with the oldest change, half are of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one watcher watches.

    Attributes:
        kind: one of `KINDS`.
        session_id: None is all.
        after_rev: as `watch` takes it.
    """

    home: str
    notes: str
    kind: str
    session_id: str | None
    after_rev: int | None


@dataclass(slots=True)
class Notes:
    """What a watcher wrote down.

    Attributes:
        before_rev: where it began, at the least.
        after_rev: where it began, at the most.
        begun_s: when each of its processes began to watch.
        given: the changes, in the order in which they were given.
        given_s: when each was.
    """

    before_rev: int = 0
    after_rev: int = 0
    begun_s: list[float] = field(default_factory=list)
    given: list[Row] = field(default_factory=list)
    given_s: list[float] = field(default_factory=list)


def read_notes(path: Path) -> Notes:
    """The notes at `path`. What a killed watcher left of its last line is not counted."""
    notes = Notes()
    for line in path.read_text(encoding="ascii").splitlines(keepends=True):
        match line.split() if line.endswith("\n") else []:
            case ["b", before, after, at_s]:
                if not notes.begun_s:
                    notes.before_rev, notes.after_rev = int(before), int(after)
                notes.begun_s.append(float(at_s))
            case ["c", rev, op, session_id, message_id, at_s]:
                message = None if message_id == "-" else message_id
                notes.given.append((int(rev), op, session_id, message))
                notes.given_s.append(float(at_s))
    return notes


def newest_rev(home: Path) -> int:
    """The rev of the newest change that is committed, read past the client."""
    return int(read_rows(home, NEWEST)[0][0])


def read_rows(home: Path, sql: str, *parameters: object) -> list[Any]:
    """All rows of a query, while the daemon may be killed and started.

    Raises:
        sqlite3.OperationalError: the file cannot be read, and that does not pass.
    """
    until_s = time.monotonic() + READ_S_MAX
    while True:
        try:
            with reading(home / "lulu.db") as connection:
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError:  # for moments, while the log of a killed daemon comes back
            if time.monotonic() >= until_s:
                raise
        time.sleep(READ_PAUSE_S)


class _NoteWriter:
    """Appends to the notes of an order.

    Attributes:
        after_rev: behind which rev to watch: the order's, or that of the last change noted.
    """

    def __init__(self, order: Order) -> None:
        self.after_rev = order.after_rev
        self._home = Path(order.home)
        path = Path(order.notes)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        whole = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(whole[0]) + len(whole[1]))
        notes = read_notes(path)
        if notes.begun_s:
            self.after_rev = notes.given[-1][0] if notes.given else notes.before_rev

    def place(self) -> int:
        """Where a watch that is made now begins."""
        return newest_rev(self._home) if self.after_rev is None else self.after_rev

    def begun(self, before_rev: int) -> None:
        os.write(self._file, f"b {before_rev} {self.place()} {time.time():.6f}\n".encode())

    def given(self, change: Change) -> None:
        ids = f"{change.session_id} {change.message_id or '-'}"
        line = f"c {change.rev} {change.op} {ids} {time.time():.6f}\n"
        os.write(self._file, line.encode())


def _watch_blocking(order: Order, notes: _NoteWriter) -> None:
    with Client(order.home) as client:
        before_rev = notes.place()
        changes = client.watch(order.session_id, after_rev=notes.after_rev)
        notes.begun(before_rev)
        for change in changes:
            notes.given(change)


async def _watch_asyncio(order: Order, notes: _NoteWriter) -> None:
    async with AsyncClient(order.home) as client:
        before_rev = notes.place()
        changes = client.watch(order.session_id, after_rev=notes.after_rev)
        notes.begun(before_rev)
        async for change in changes:
            notes.given(change)


KINDS: dict[str, Callable[[Order, _NoteWriter], None]] = {
    "blocking": _watch_blocking,
    "asyncio": lambda order, notes: asyncio.run(_watch_asyncio(order, notes)),
}


def main() -> None:
    """Do the order of the first argument."""
    order = Order(**json.loads(sys.argv[1]))
    threading.Thread(target=_end_with_input, daemon=True).start()
    KINDS[order.kind](order, _NoteWriter(order))


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)  # the notes are with the operating system


if __name__ == "__main__":
    main()
