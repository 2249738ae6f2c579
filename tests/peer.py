"""Wire protocol 1 spoken with pyzmq and msgpack alone: a second opinion on the daemon.

Nothing here knows luludb's own modules. Frames are built by hand, so a test can send what no
client would.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import zmq

DEADLINE_MS = 20_000
NO_OPTIONS = object()


class Answer(NamedTuple):
    """One reply: `[1, seq, status, body]` without its first element."""

    seq: int
    status: int
    body: dict[str, Any]


def pack(value) -> bytes:
    return msgpack.packb(value)


def request(client_id, seq, op, args, *, acked=0, options=NO_OPTIONS, protocol=1) -> bytes:
    """One request frame."""
    elements = [protocol, client_id, seq, acked, op, args]
    return pack(elements if options is NO_OPTIONS else [*elements, options])


def answer_of(frame: bytes) -> Answer:
    """The reply that `frame` holds; anything that is not exactly one fails the test."""
    elements = msgpack.unpackb(frame)
    assert type(elements) is list
    assert len(elements) == 4, elements
    protocol, seq, status, body = elements
    assert protocol == 1
    assert [type(seq), type(status), type(body)] == [int, int, dict]
    assert status in (0, 1)
    if status == 1:
        assert [type(body["code"]), type(body["message"])] == [str, str]
        assert body["message"]
    return Answer(seq, status, body)


def discovery(home) -> dict[str, Any]:
    """What `run/daemon.json` says."""
    return json.loads(Path(home, "run", "daemon.json").read_text(encoding="utf-8"))


class Peer:
    """A DEALER (or REQ) with a client_id and a count of the seqs that it used."""

    def __init__(self, home, client_id: bytes | None = None, kind: int = zmq.DEALER) -> None:
        self.home = home
        self.client_id = client_id or os.urandom(16)
        self.seq = 0
        self.acked = 0
        self.kind = kind
        self._context = zmq.Context()
        self.socket = self._connected()

    def _connected(self):
        socket = self._context.socket(self.kind)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0
        socket.rcvtimeo = socket.sndtimeo = DEADLINE_MS
        socket.connect(discovery(self.home)["command"])
        return socket

    def reconnect(self) -> None:
        """Go on over a new connection, to the daemon that serves now. Says no hello."""
        self.socket.close()
        self.socket = self._connected()

    def close(self) -> None:
        self.socket.close()
        self._context.term()

    # Frames.

    def send(self, op, args, *, seq, acked=0, options=NO_OPTIONS) -> None:
        self.send_frame(
            request(self.client_id, seq, op, args, acked=acked, options=options),
        )

    def send_frame(self, frame: bytes) -> None:
        self.socket.send(frame)

    def receive_frame(self) -> bytes:
        parts = self.socket.recv_multipart()
        assert len(parts) == 1, parts
        return parts[0]

    def receive(self) -> Answer:
        return answer_of(self.receive_frame())

    def hears_nothing(self) -> bool:
        """Whether all that was sent before is dealt with, and no reply waits.

        The daemon answers one connection's frames in order, so the pong ends the wait.
        """
        self.send("ping", {}, seq=0)
        answer = self.receive()
        return answer == Answer(0, 0, {})

    # Requests that are answered.

    def exchange(self, op, args, *, seq, acked=0, options=NO_OPTIONS) -> Answer:
        self.send(op, args, seq=seq, acked=acked, options=options)
        return self.receive()

    def control(self, op, args=None, *, acked=0) -> Answer:
        answer = self.exchange(op, {} if args is None else args, seq=0, acked=acked)
        assert answer.seq == 0
        return answer

    def hello(self, *, acked=0) -> dict[str, Any]:
        answer = self.control("hello", acked=acked)
        assert answer.status == 0, answer
        return answer.body

    def status(self) -> dict[str, Any]:
        return self.control("status").body

    def command(self, op, args, *, options=NO_OPTIONS) -> Answer:
        """Send a command with the next seq; it acknowledges every reply before it."""
        seq = self.seq + 1
        answer = self.exchange(op, args, seq=seq, acked=self.seq, options=options)
        assert answer.seq == seq
        self.seq = seq
        return answer

    def done(self, op, args, *, options=NO_OPTIONS) -> dict[str, Any]:
        """The body of a command that must succeed."""
        answer = self.command(op, args, options=options)
        assert answer.status == 0, answer
        return answer.body

    def refused(self, op, args, *, options=NO_OPTIONS) -> dict[str, Any]:
        """The body of a command that must be refused, and consumes its seq."""
        answer = self.command(op, args, options=options)
        assert answer.status == 1, answer
        return answer.body

    def pipeline(self, commands) -> list[Answer]:
        """Send `(op, args)` each in one frame; the answers, one a command."""
        first = self.seq + 1
        answer = self.exchange("pipeline", {"commands": list(commands)}, seq=first, acked=first - 1)
        assert (answer.seq, answer.status) == (first, 0), answer
        self.seq += len(commands)
        replies = answer.body["replies"]
        assert len(replies) == len(commands)
        return [Answer(first + index, *reply) for index, reply in enumerate(replies)]

    def create_session(self, **args) -> str:
        body = self.done("session.create", {"name": "n", "working_dir": "/w", **args})
        return body["session"]["id"]

    def append(self, session_id, content="hi", **args) -> str:
        body = self.done(
            "message.append",
            {"session_id": session_id, "role": "user", "content": content, **args},
        )
        return body["message"]["id"]


class Listener:
    """A SUB at the changes endpoint."""

    def __init__(self, home, topic: bytes = b"") -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.SUB)
        self.socket.linger = 0
        self.socket.rcvtimeo = DEADLINE_MS
        self.socket.subscribe(topic)
        self.socket.connect(discovery(home)["changes"])

    def receive(self) -> tuple[bytes, list[int]]:
        parts = self.socket.recv_multipart()
        assert len(parts) == 2, parts
        return parts[0], msgpack.unpackb(parts[1])

    def hears_within(self, timeout_ms: int) -> bool:
        return bool(self.socket.poll(timeout_ms))

    def close(self) -> None:
        self.socket.close()
        self._context.term()


def refusal(answer: Answer, code: str) -> dict[str, Any]:
    """The body of a refusal that must have `code`."""
    assert (answer.status, answer.body["code"]) == (1, code), answer
    return answer.body


@contextmanager
def connected(home, client_id: bytes | None = None, *, kind: int = zmq.DEALER, hello=True):
    """A peer that said hello, closed at the end."""
    peer = Peer(home, client_id, kind)
    try:
        if hello:
            peer.seq = peer.hello()["last_seq"]
        yield peer
    finally:
        peer.close()


@contextmanager
def listening(home, topic: bytes = b""):
    """A listener, closed at the end."""
    listener = Listener(home, topic)
    try:
        yield listener
    finally:
        listener.close()
