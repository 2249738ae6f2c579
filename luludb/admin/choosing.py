"""Which sessions a prune takes: by their age, their status, and how many are newer."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from luludb.errors import InvalidRequest
from luludb.model import Session
from luludb.times import canonical_time
from luludb_client.replica import Replica

Show = Callable[[str, int, int | None], None]
"""Shows how far it is: what is being done, how much of it is done, and the whole if known."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What must be true of a session that goes: all that is given here.

    Attributes:
        unused_since: neither the session nor its messages changed since that time of RFC 3339.
        statuses: it has one of these.
        kept_newest: so many sessions of the same working_dir were created after it.
    """

    unused_since: str | None
    statuses: Container[str] | None
    kept_newest: int | None


class Chosen(NamedTuple):
    """A session that is to go, as it was when it was chosen.

    Attributes:
        last_message: rowid, id and timestamp of its last message; None where it has none.
    """

    session: Session
    last_message: tuple[int, str, str] | None


def time_before_now(age: timedelta) -> str:
    """The time `age` ago, as the tables have it."""
    return (datetime.now(UTC) - age).isoformat(timespec="microseconds")


def choose(replica: Replica, criteria: Criteria, show: Show) -> list[Chosen]:
    """The sessions that are to go, in the order in which they came into the table."""
    show("choosing", 0, None)
    kept = _newest_ids(replica.all_sessions(), criteria.kept_newest)
    return [
        chosen
        for session in replica.all_sessions()
        if session.id not in kept
        and _has_status(session, criteria)
        and (chosen := _look_at(replica, session, criteria)) is not None
    ]


def _look_at(replica: Replica, session: Session, criteria: Criteria) -> Chosen | None:
    """`session` with its last message, where its age lets it go; else None.

    Appending does not touch `updated_at`, so an old one alone does not tell that nobody works in
    a session. One whose times are not of RFC 3339, which other programs may have written, stays.
    """
    last = replica.last_message_of(session.id)
    if criteria.unused_since is not None:
        times = [session.created_at, session.updated_at, *([] if last is None else last[2:])]
        try:
            if max(map(canonical_time, times)) >= criteria.unused_since:
                return None
        except (InvalidRequest, TypeError):
            return None
    return Chosen(session, last)


def _has_status(session: Session, criteria: Criteria) -> bool:
    return criteria.statuses is None or session.status in criteria.statuses


def _newest_ids(sessions: Iterable[Session], count: int | None) -> frozenset[str]:
    """The ids of the newest `count` sessions of each working_dir, by (created_at, id)."""
    if count is None:
        return frozenset()
    newest: dict[str, list[tuple[str, str]]] = {}
    for session in sessions:
        heap = newest.setdefault(session.working_dir, [])
        heapq.heappush(heap, (session.created_at, session.id))
        if len(heap) > count:
            heapq.heappop(heap)
    return frozenset(id for heap in newest.values() for _, id in heap)
