"""Prune: sessions deleted with their messages, in pieces so small that nobody waits for them.

A long session loses its oldest messages first, some in each command, and then goes with the last
of them. Whatever ends a prune, the next one goes on with what is left of such a session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from luludb.admin.choosing import Chosen, Show
from luludb.errors import InvalidRequest, NotFound
from luludb.home import Home
from luludb.limits import (
    ID_CHARACTERS_MAX,
    PRUNE_BYTES_MAX,
    PRUNE_MESSAGES_MAX,
    PRUNE_PAUSE_S_MAX,
)
from luludb_client import Client
from luludb_client.replica import Replica


@dataclass(slots=True)
class Extent:
    """How much a number of sessions is; of the bytes only what the messages' contents take."""

    sessions: int = 0
    messages: int = 0
    content_bytes: int = 0


@dataclass(slots=True)
class Pruned:
    """What became of the sessions so far.

    Attributes:
        sessions: deleted ones.
        messages: deleted ones, those of sessions that are not deleted yet included.
        left_alone: sessions that were changed since they were chosen, are gone, or have an id that
            no command can name.
    """

    sessions: int = 0
    messages: int = 0
    left_alone: int = 0


def measure(replica: Replica, chosen: Sequence[Chosen], show: Show) -> Extent:
    """How much would go."""
    extent = Extent()
    for session, _ in chosen:
        messages, content_bytes = replica.extent_of(session.id)
        extent.sessions += 1
        extent.messages += messages
        extent.content_bytes += content_bytes
        show("measuring", extent.sessions, len(chosen))
    return extent


@contextmanager
def open_prune(home: Home, timeout_s: float) -> Iterator[Prune]:
    """A prune of `home`; no answer of its daemon is waited for longer than `timeout_s`."""
    replica = Replica(home, timeout_s)
    try:
        with Client(home.path, timeout_s=timeout_s) as client:
            yield Prune(client, replica)
    finally:
        replica.close()


class Prune:
    """Sessions on their way out, one small command after the other.

    Attributes:
        pruned: what is done; right also after an error.
    """

    def __init__(self, client: Client, replica: Replica) -> None:
        self.pruned = Pruned()
        self._client = client
        self._replica = replica

    def delete(self, chosen: Sequence[Chosen], show: Show) -> None:
        """Delete the sessions of `chosen` that are as they were then.

        Raises:
            LuludbError: it cannot go on, as without a daemon, or on a full disk.
        """
        for place, each in enumerate(chosen):
            show("deleting", place, len(chosen))
            self._delete_one(each)

    def _delete_one(self, chosen: Chosen) -> None:
        behind: int | None = None
        refused: list[str] = []
        while self._is_as_chosen(chosen):
            rowids, ids, is_rest = self._piece(chosen.session.id, behind)
            try:
                with _paused_after():
                    if is_rest:
                        self.pruned.messages += self._client.delete_session(chosen.session.id)
                        self.pruned.sessions += 1
                        return
                    self._delete_messages(ids)
            except NotFound:
                if is_rest or ids == refused:
                    break
                refused = ids  # someone else deleted one of them: look again at what is there
                continue
            except InvalidRequest:
                break  # another program gave it an id that no command can name
            behind = rowids[-1]
        self.pruned.left_alone += 1

    def _is_as_chosen(self, chosen: Chosen) -> bool:
        """Whether nobody changed the session, or appended to it, since it was chosen."""
        session, last = chosen
        return (
            self._replica.get_session(session.id) == session
            and self._replica.last_message_of(session.id) == last
        )

    def _piece(self, session_id: str, behind: int | None) -> tuple[list[int], list[str], bool]:
        """The oldest messages behind a rowid: rowids, ids, and whether these are all there are.

        An id that no command can name is left out; such a message goes with its session.
        """
        rows = self._replica.oldest_messages_of(
            session_id, after_rowid=behind, rows_max=PRUNE_MESSAGES_MAX + 1
        )
        count = piece_bytes = 0
        while count < min(len(rows), PRUNE_MESSAGES_MAX) and piece_bytes < PRUNE_BYTES_MAX:
            piece_bytes += rows[count][2]
            count += 1
        piece = rows[:count]
        ids = [id for _, id, _ in piece if _can_be_named(id)]
        return [rowid for rowid, _, _ in piece], ids, count == len(rows)

    def _delete_messages(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        with self._client.transaction() as batch:
            for id in ids:
                batch.delete_message(id)
        self.pruned.messages += len(ids)


def _can_be_named(id: object) -> bool:
    return isinstance(id, str) and 1 <= len(id) <= ID_CHARACTERS_MAX and "\0" not in id


@contextmanager
def _paused_after() -> Iterator[None]:
    """Leave the daemon to others for as long as the command took, so that they get half of it."""
    started_s = time.monotonic()
    yield
    time.sleep(min(time.monotonic() - started_s, PRUNE_PAUSE_S_MAX))
