"""What the tests of `watch` share: a thread that iterates, and what is written meanwhile."""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from luludb_client import Change, Client, LuludbError

DEADLINE_S = 30
TEST_S_MAX = 120


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """A `next()` that would wait for ever fails its test."""

    def late(*_: object) -> None:
        raise TimeoutError(f"the test takes more than {TEST_S_MAX} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(TEST_S_MAX)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Watching:
    """A thread that iterates over a watch; what it gives can be waited for."""

    def __init__(self, watch: Iterator[Change]) -> None:
        self.changes: queue.Queue[Change | None] = queue.Queue()
        self.error: LuludbError | None = None
        self._watch = watch
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            for change in self._watch:
                self.changes.put(change)
        except LuludbError as error:
            self.error = error
        self.changes.put(None)

    def next(self) -> Change | None:
        """The next change; None at the end."""
        return self.changes.get(timeout=DEADLINE_S)

    def revs_through(self, last_rev: int) -> list[int]:
        revs = []
        while not revs or revs[-1] < last_rev:
            change = self.next()
            assert change is not None, self.error
            revs.append(change.rev)
        return revs

    def ended(self) -> LuludbError | None:
        """Wait for the end. Returns the error that it ended with."""
        while self.next() is not None:
            pass
        self.thread.join(DEADLINE_S)
        return self.error


def create(client: Client, id: str) -> str:
    return client.create_session("n", "/", id=id).id


def append(client: Client, session_id: str, count: int = 1) -> None:
    for _ in range(count):
        client.append_message(session_id, "user", "")


def last_rev(home: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{home}/lulu.db?mode=ro", uri=True)) as reader:
        return int(
            reader.execute("SELECT value FROM lulu_meta WHERE key = 'last_rev'").fetchone()[0]
        )


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/dev/fd"))


def revs(watch: Iterator[Change], count: int) -> list[int]:
    return [next(watch).rev for _ in range(count)]
