"""How an import keeps the daemon busy: what it does while it waits."""

from concurrent.futures import Future

import pytest

from luludb.admin import chunks
from luludb.admin.chunks import Chunk
from luludb.admin.importing import Import
from luludb.admin.rows import message_row
from luludb.errors import DiskFull, NotFound

TIME = "2026-01-02T03:04:05.000006+00:00"


def message(line):
    columns = {"session_id": "s1", "role": "user", "content": "c", "timestamp": TIME}
    return message_row(line, {"id": f"m{line}", **columns})


class Daemon:
    """In the place of a link: takes commands, and answers when it is waited for.

    `refusals` are by the number of the command, from 1.
    """

    def __init__(self, events, refusals=()):
        self._events = events
        self._refusals = dict(refusals)
        self._commands = 0

    def submit(self, packed, now_s, timeout_s):
        self._commands += 1
        number = self._commands
        self._events.append(f"sent {packed[-1]}")
        future = Future()
        future.result = lambda: self._answer(number)
        return future

    def _answer(self, number):
        self._events.append("waited")
        if number in self._refusals:
            raise self._refusals[number]
        return {}


@pytest.fixture
def events(monkeypatch):
    """What is done, in order, by an import in chunks of ten rows."""
    events = []
    pack = Chunk.pack

    def packing(chunk):
        events.append("packed")
        pack(chunk)

    monkeypatch.setattr(chunks, "IMPORT_CHUNK_ROWS_MAX", 10)
    monkeypatch.setattr(Chunk, "pack", packing)
    return events


def test_the_next_transaction_is_packed_while_the_daemon_has_the_one_before(events):
    Import(Daemon(events), None, 1.0).add(map(message, range(1, 31)))

    assert events == [
        *("packed", "sent 10"),
        *("packed", "waited", "sent 10"),
        *("packed", "waited", "sent 10"),
        "waited",
    ]


def test_what_is_settled_is_counted_also_where_the_import_ends_early(events):
    running = Import(Daemon(events, {2: DiskFull("no room")}), None, 1.0)

    with pytest.raises(DiskFull):
        running.add(map(message, range(1, 31)))

    assert (running.summary.messages_added, running.summary.line) == (10, 10)


def test_a_refused_transaction_is_sent_row_by_row_before_the_next_one(events):
    running = Import(Daemon(events, {1: NotFound("no session")}), None, 1.0)

    running.add(map(message, range(1, 21)))

    assert events == [
        *("packed", "sent 10"),
        *("packed", "waited", *["sent 1"] * 10, *["waited"] * 10, "sent 10"),
        "waited",
    ]
    assert running.summary.messages_added == 20
