"""What a drain takes from the socket, and where it ends."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import pytest
import zmq

from luludb.daemon import sockets as sockets_module
from luludb.daemon.figures import Figures
from luludb.daemon.seldom import SeldomLog
from luludb.daemon.sockets import Sockets


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
