"""What a drain takes from the socket, and where it ends."""

from __future__ import annotations

import logging
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from luludb.daemon import sockets as sockets_module
from luludb.daemon.figures import Figures
from luludb.daemon.seldom import SeldomLog
from luludb.daemon.sockets import Sockets
from luludb.limits import RING_COMMITS_MAX
from luludb.tables.changes import ChangeRow


class Router:
    """Messages that wait, as a ROUTER gives them: frame by frame."""

    def __init__(self, *messages: list[bytes]) -> None:
        self._messages = deque(messages)
        self._frames: deque[bytes] = deque()

    def recv(self, _flags: int) -> bytes:
        if not self._frames:
            if not self._messages:
                raise zmq.Again
            self._frames.extend(self._messages.popleft())
        return self._frames.popleft()

    def recv_multipart(self, _flags: int) -> list[bytes]:
        frames = list(self._frames)
        self._frames.clear()
        return frames

    def getsockopt(self, _option: int) -> int:
        return bool(self._frames)

    def left(self) -> int:
        return len(self._messages)


def drained(router: Router) -> tuple[list[Any], int]:
    sockets = Sockets.__new__(Sockets)
    sockets._router = router  # type: ignore[assignment]
    sockets._figures = Figures()
    sockets._seldom = SeldomLog(logging.getLogger(__name__))
    return list(sockets.drain()), sockets._figures.dropped_frames_total


def test_messages_of_two_frames_and_those_of_a_req_socket_are_taken_and_others_dropped() -> None:
    router = Router(
        [b"r1", b"one"],
        [b"r2", b"", b"two"],
        [b"r3", b"no", b"delimiter"],
        [b"r4", b"", b"too", b"many"],
        [b"r1", b"three"],
        [b"r5", b""],
    )
    assert drained(router) == (
        [([b"r1"], b"one"), ([b"r2", b""], b"two"), ([b"r1"], b"three"), ([b"r5"], b"")],
        2,
    )


@pytest.mark.parametrize(
    "message",
    [
        pytest.param([b"r", bytes(40)], id="taken"),
        pytest.param([b"r", bytes(20), bytes(20)], id="dropped-for-its-shape"),
        pytest.param([b"r", bytes(40), b""], id="dropped-with-all-in-its-first-frame"),
    ],
)
def test_a_drain_ends_at_its_bytes_whatever_becomes_of_the_messages(
    monkeypatch: pytest.MonkeyPatch, message: list[bytes]
) -> None:
    monkeypatch.setattr(sockets_module, "DRAIN_BYTES_MAX", 100)
    router = Router(*[message] * 10)
    drained(router)
    assert router.left() == 7


class Changes:
    """Stands for the XPUB: the topics that were rung for, by batch."""

    def __init__(self) -> None:
        self.topics: list[bytes] = []

    def send(self, frame: bytes, flags: int) -> None:
        if flags & zmq.SNDMORE:
            self.topics.append(frame)


def ringing(*, frames_wait: bool) -> tuple[Sockets, Changes]:
    sockets, changes = Sockets.__new__(Sockets), Changes()
    events = zmq.POLLIN if frames_wait else 0
    router = SimpleNamespace(getsockopt=lambda _option: events)
    vars(sockets).update(_router=router, _changes=changes, _subscriptions=1, _unrung=[])
    return sockets, changes


def batch(number: int) -> list[ChangeRow]:
    return [(number, "message.append", f"s{number}", None, "")]


def test_it_is_rung_at_once_where_nothing_waits() -> None:
    sockets, changes = ringing(frames_wait=False)
    sockets.publish([batch(1)])
    assert changes.topics == [b"s1"]


def test_while_frames_wait_a_few_batches_are_rung_for_together_in_order() -> None:
    sockets, changes = ringing(frames_wait=True)
    for number in range(1, RING_COMMITS_MAX):
        sockets.publish([batch(number)])
    assert changes.topics == []

    sockets.publish([batch(RING_COMMITS_MAX)])
    sockets.publish([])

    assert changes.topics == [b"s%d" % number for number in range(1, RING_COMMITS_MAX + 1)]


def test_what_was_put_off_is_rung_for_by_the_turn_behind_which_nothing_waits() -> None:
    sockets, changes = ringing(frames_wait=True)
    sockets.publish([batch(1)])
    sockets._router = SimpleNamespace(getsockopt=lambda _option: 0)  # type: ignore[assignment]

    sockets.publish([])  # a turn of pings, say

    assert changes.topics == [b"s1"]
