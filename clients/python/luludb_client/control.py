"""Control requests, such as `ping` and `status`: one question on a short connection of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from luludb.errors import DaemonUnavailable, InvalidRequest, ProtocolMismatch, error_from_body
from luludb.home import Home, read_discovery
from luludb.ids import new_client_id
from luludb.limits import RECEIVE_BYTES_MAX
from luludb.model import PROTOCOL
from luludb.wire import Reply, decode_reply, encode_content, encode_request
from luludb_client.channel import endpoint_path, start_advice, undiscovered
from luludb_client.zmtp import Decoder, TransportError, encode_frame, encode_opening

OPENING: Final = encode_opening("DEALER")
"""What goes out first."""


class NoAnswer(DaemonUnavailable):
    """Is raised when a daemon listens and gives no answer in time. The details have its `pid`."""


class Question:
    """One control request and its answer, without any I/O.

    Args:
        home: whose daemon is asked.
        op: `ping`, `status` or another control request.
        args: its arguments.

    Attributes:
        is_connected: whether the daemon was reached; who asks keeps it up to date.

    Raises:
        DaemonUnavailable: no daemon serves the home.
    """

    def __init__(self, home: Home, op: str, args: Mapping[str, Any] = MappingProxyType({})) -> None:
        discovery = read_discovery(home)
        if discovery is None:
            raise DaemonUnavailable(
                f"no daemon serves {home.path}: {'; '.join(undiscovered(home))}"
            )
        self._home = home
        self._discovery = discovery
        self._decoder = Decoder()
        request = encode_request(new_client_id(), 0, 0, encode_content(op, dict(args)))
        self._frame = encode_frame(request)
        self.is_connected = False

    @property
    def path(self) -> str:
        """The socket to connect to.

        Raises:
            OSError: it is none that this client can reach.
        """
        return endpoint_path(self._discovery.command)

    def receive(self, received: bytes) -> tuple[bytes, Reply | None]:
        """Take in what the connection received. Returns what is to be sent, and the answer.

        Raises:
            OSError, TransportError, InvalidRequest: there will be none on this connection.
        """
        if not received:
            raise ConnectionResetError("the daemon closed the connection")
        for message in self._decoder.feed(received):
            return b"", decode_reply(message[-1])
        to_send = b""
        if self._decoder.is_ready:
            to_send, self._frame = self._frame, b""
        return to_send, None

    def failed(self, error: Exception, timeout_s: float) -> DaemonUnavailable:
        """What to raise where asking ended with `error`."""
        pid = self._discovery.pid
        path = self._home.path
        if isinstance(error, TimeoutError):
            return NoAnswer(
                f"the daemon of {path} (pid {pid}) listens and gave no answer in {timeout_s:.3g} s",
                pid=pid,
            )
        if self.is_connected:
            return DaemonUnavailable(f"the daemon of {path} (pid {pid}) broke off: {error}")
        why = getattr(error, "strerror", None) or error
        return DaemonUnavailable(
            f"no daemon serves {path}: pid {pid} does not listen ({why});"
            f" {start_advice(self._home)}"
        )


def body_of(reply: Reply) -> dict[str, Any]:
    """The body of an answer.

    Raises:
        ProtocolMismatch: it is of another protocol.
        LuludbError: it is a refusal.
    """
    if reply.protocol != PROTOCOL:
        raise ProtocolMismatch(
            f"the daemon speaks protocol {reply.protocol}; this client speaks {PROTOCOL}"
        )
    if reply.status:
        raise error_from_body(reply.body)
    return reply.body


def ask(
    home: Home, op: str, timeout_s: float, args: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The body of the daemon's reply to the control request `op`.

    Raises:
        DaemonUnavailable: at once where no daemon listens; after the timeout where one listens
            and does not answer, as `NoAnswer`.
        ProtocolMismatch: it speaks another protocol.
    """
    deadline_s = time.monotonic() + timeout_s
    question = Question(home, op, args)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        try:
            connection.settimeout(timeout_s)
            connection.connect(question.path)
            question.is_connected = True
            reply = _exchange(connection, question, deadline_s)
        except (OSError, TransportError, InvalidRequest) as error:
            raise question.failed(error, timeout_s) from error
    return body_of(reply)


def _exchange(connection: socket.socket, question: Question, deadline_s: float) -> Reply:
    connection.sendall(OPENING)
    while True:
        # A timeout of 0 would make the socket a non-blocking one.
        connection.settimeout(max(deadline_s - time.monotonic(), 0.001))
        to_send, reply = question.receive(connection.recv(RECEIVE_BYTES_MAX))
        if reply is not None:
            return reply
        connection.sendall(to_send)
        if time.monotonic() >= deadline_s:
            raise TimeoutError
