"""What happens in a home from second to second: rates, and who is the busiest.

Rates come from the daemon's counters. The busiest sessions and clients are read from the database,
from the change feed and from the kept replies, so that they cost the daemon nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from luludb.errors import LuludbError
from luludb.home import Home
from luludb.limits import (
    TOP_ANSWER_S_MAX,
    TOP_CHANGES_LOOKED_MAX,
    TOP_CHUNKS_LOOKED_MAX,
    TOP_SESSIONS_MAX,
    TOP_SHOWN_MAX,
    TOP_WINDOW_S,
)
from luludb.tables import Connection, changes, ledger, meta, sessions
from luludb.wire import decode_last_rev
from luludb_client import control
from luludb_client.replica import Replica

COUNTERS: Final = (
    "commands_total",
    "commands_refused_total",
    "duplicates_total",
    "batches_total",
    "checkpoints_total",
    "last_rev",
)
"""The figures whose growth is shown."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A session or a client among the busiest of the last seconds.

    Attributes:
        id: of the session; of a client the first eight digits of its client_id.
        name: of the session, or of the one that the client wrote to last; empty where it is gone.
        per_s: changes of a session, commands of a client.
    """

    id: str
    name: str
    per_s: float


@dataclass(frozen=True, slots=True)
class Activity:
    """What one look found.

    Attributes:
        figures: the daemon's, None where none answers.
        unavailable: why none answers.
        per_s: the growth of each of COUNTERS since the look before; empty at the first one, and
            where the daemon was started anew.
        sessions: the busiest, the first one most.
        clients: the busiest, the first one most.
    """

    figures: Mapping[str, Any] | None
    unavailable: str
    per_s: Mapping[str, float]
    sessions: tuple[Busy, ...]
    clients: tuple[Busy, ...]


class _Feed(NamedTuple):
    """What one look at the database found.

    Attributes:
        database_id: which database it was.
        last_rev: the newest change.
        sessions: changes of each session since the look before.
        seqs: the last seq of each client, by its number.
    """

    database_id: str
    last_rev: int
    sessions: Counter[str]
    seqs: dict[int, int]


class _Step(NamedTuple):
    """What was done between two looks at the database."""

    from_s: float
    sessions: Counter[str]
    clients: Counter[int]


class Watching:
    """Looks at a home again and again, over a read-only connection that the caller closes."""

    def __init__(self, home: Home, replica: Replica) -> None:
        self._home = home
        self._replica = replica
        self._figures: tuple[float, Mapping[str, Any]] | None = None
        self._feed: tuple[float, _Feed] | None = None
        self._steps: deque[_Step] = deque()

    def look(self, now_s: float) -> Activity:
        """Look at the daemon and the database, at `now_s` of a monotonic clock.

        It never fails: without an answer there are no figures, and without a database nobody is
        busy.
        """
        figures, unavailable = None, ""
        try:
            figures = control.ask(self._home, "status", TOP_ANSWER_S_MAX)
        except LuludbError as error:
            unavailable = error.message
        per_s = growth(self._figures, figures, now_s)
        self._figures = None if figures is None else (now_s, figures)
        try:
            self._note_feed(now_s)
            busiest = self._replica.read(lambda connection: self._busiest(connection, now_s))
        except LuludbError:
            busiest = (), ()  # there is no database yet, or a restore is at work on it
        return Activity(figures, unavailable, per_s, *busiest)

    def _note_feed(self, now_s: float) -> None:
        before = self._feed
        above_rev = None if before is None else before[1].last_rev
        feed = self._replica.read(lambda connection: _read_feed(connection, above_rev))
        self._feed = (now_s, feed)
        if before is None or before[1].database_id != feed.database_id:
            self._steps.clear()
            return
        self._steps.append(_Step(before[0], feed.sessions, commands_of(before[1].seqs, feed.seqs)))
        while now_s - self._steps[0].from_s > TOP_WINDOW_S and len(self._steps) > 1:
            self._steps.popleft()

    def _busiest(
        self, connection: Connection, now_s: float
    ) -> tuple[tuple[Busy, ...], tuple[Busy, ...]]:
        if not self._steps:
            return (), ()
        of_sessions: Counter[str] = Counter()
        of_clients: Counter[int] = Counter()
        for step in self._steps:
            of_sessions.update(step.sessions)
            of_clients.update(step.clients)
        elapsed_s = max(now_s - self._steps[0].from_s, 0.001)
        return (
            tuple(
                Busy(id, _name_of(connection, id), count / elapsed_s)
                for id, count in of_sessions.most_common(TOP_SHOWN_MAX)
            ),
            tuple(
                _described_client(connection, number, count / elapsed_s)
                for number, count in of_clients.most_common(TOP_SHOWN_MAX)
            ),
        )


def growth(
    before: tuple[float, Mapping[str, Any]] | None,
    after: Mapping[str, Any] | None,
    now_s: float,
) -> dict[str, float]:
    """How much each of COUNTERS grew a second; nothing where one daemon did not give both."""
    if before is None or after is None or before[1]["boot_id"] != after["boot_id"]:
        return {}
    elapsed_s = max(now_s - before[0], 0.001)
    return {name: (after[name] - before[1][name]) / elapsed_s for name in COUNTERS}


def commands_of(before: Mapping[int, int], after: Mapping[int, int]) -> Counter[int]:
    """How many commands each client had decided between two looks at the last seqs."""
    # Beyond the oldest client that was looked at, one that was not seen before is not new.
    oldest = min(before, default=0)
    counted: Counter[int] = Counter()
    for number, last_seq in after.items():
        count = last_seq - before.get(number, 0 if number > oldest else last_seq)
        if count > 0:
            counted[number] = count
    return counted


def _read_feed(connection: Connection, above_rev: int | None) -> _Feed:
    marks = meta.read_marks(connection)
    start = marks.last_rev if above_rev is None else above_rev
    looked = max(start, marks.last_rev - TOP_CHANGES_LOOKED_MAX)
    counts = changes.busiest_sessions(
        connection, above_rev=looked, through_rev=marks.last_rev, rows_max=TOP_SESSIONS_MAX
    )
    # Of more changes than are looked at, the newest stand for all.
    share = (marks.last_rev - start) / max(marks.last_rev - looked, 1)
    return _Feed(
        marks.database_id,
        marks.last_rev,
        Counter({id: round(count * share) for id, count in counts}),
        ledger.last_seqs(connection, TOP_CHUNKS_LOOKED_MAX),
    )


def _name_of(connection: Connection, id: str) -> str:
    session = sessions.get(connection, id)
    return "" if session is None else session.name


def _described_client(connection: Connection, number: int, per_s: float) -> Busy:
    """A client by the start of its client_id, and the session that its last command changed."""
    chunk = ledger.last_chunk(connection, number)
    if chunk is None:
        return Busy("forgotten", "", per_s)
    client_id, replies = chunk
    rev = decode_last_rev(replies)
    row = None if rev is None else changes.get(connection, rev)
    return Busy(client_id.hex()[:8], "" if row is None else _name_of(connection, row[2]), per_s)
