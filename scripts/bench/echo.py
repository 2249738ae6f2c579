"""A bare pyzmq ROUTER that sends each frame back: what the sockets alone cost."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgpack
import zmq

from scripts.bench import processes
from scripts.bench.rows import Message, Session
from scripts.bench.systems import CallFailed, KeptRows

KEEPS_ROWS = False
TIMEOUT_MS = 30_000


def reason_missing() -> str | None:
    return None


def version() -> str:
    return f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}"


def settings() -> str:
    return "a ROUTER that sends each frame back, DEALER clients; ipc; nothing is kept"


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    del durability
    with processes.running("scripts.bench.echo", str(directory)) as server:
        yield server.pid


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[EchoClient]:
    del durability
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        socket.connect(_endpoint(directory))
        yield EchoClient(socket)
    finally:
        socket.close()
        context.term()


class EchoClient:
    """One DEALER, one frame there and back a call."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket

    def create_session(self, session: Session) -> None:
        """Nothing to keep; a first round trip stands for it."""
        self._round_trip(msgpack.packb(session))

    def append(self, message: Message) -> None:
        self._round_trip(msgpack.packb(message))

    def _round_trip(self, frame: bytes) -> None:
        self._socket.send(frame)
        try:
            echoed = self._socket.recv()
        except zmq.Again as error:
            raise CallFailed("no_echo") from error
        if len(echoed) != len(frame):
            raise CallFailed("another_echo")


@contextlib.contextmanager
def kept_rows(directory: Path) -> Iterator[KeptRows]:
    """None: an echo keeps nothing."""
    del directory
    yield (), ()


def _endpoint(directory: Path) -> str:
    return f"ipc://{directory / 'echo.sock'}"


def main() -> None:
    """Echo until the standard input ends."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(_endpoint(Path(sys.argv[1])))
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    print("ready", flush=True)
    while sys.stdin.fileno() not in dict(poller.poll()):
        # Poll once, then drain: a poll for each frame would cost a system call more.
        with contextlib.suppress(zmq.Again):
            while True:
                socket.send_multipart(socket.recv_multipart(zmq.NOBLOCK))
    socket.close()
    context.term()


if __name__ == "__main__":
    main()
