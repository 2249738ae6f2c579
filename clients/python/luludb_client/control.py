"""Control requests, such as `ping` and `status`: one question on a short connection of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from luludb.errors import DaemonUnavailable, InvalidRequest, ProtocolMismatch, error_from_body
from luludb.home import Discovery, Home, read_discovery
from luludb.ids import new_client_id
from luludb.limits import RECEIVE_BYTES_MAX
from luludb.model import PROTOCOL
from luludb.wire import Reply, decode_reply, encode_content, encode_request
from luludb_client.channel import endpoint_path, start_advice
from luludb_client.zmtp import Decoder, TransportError, encode_frame, encode_opening


class NoAnswer(DaemonUnavailable):
    """Is raised when a daemon listens and gives no answer in time. The details have its `pid`."""


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
    discovery = read_discovery(home)
    if discovery is None:
        raise DaemonUnavailable(
            f"no daemon serves {home.path}: {home.discovery} is not there; {start_advice(home)}"
        )
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        try:
            connection.settimeout(timeout_s)
            connection.connect(endpoint_path(discovery.command))
        except TimeoutError as error:
            raise _silent(home, discovery, timeout_s) from error
        except OSError as error:
            raise DaemonUnavailable(
                f"no daemon serves {home.path}: pid {discovery.pid} does not listen"
                f" ({error.strerror or error}); {start_advice(home)}"
            ) from error
        try:
            request = encode_request(new_client_id(), 0, 0, encode_content(op, dict(args)))
            reply = _exchange(connection, request, deadline_s)
        except TimeoutError as error:
            raise _silent(home, discovery, timeout_s) from error
        except (OSError, TransportError, InvalidRequest) as error:
            raise DaemonUnavailable(
                f"the daemon of {home.path} (pid {discovery.pid}) broke off: {error}"
            ) from error
    if reply.protocol != PROTOCOL:
        raise ProtocolMismatch(
            f"the daemon speaks protocol {reply.protocol}; this client speaks {PROTOCOL}"
        )
    if reply.status:
        raise error_from_body(reply.body)
    return reply.body


def _exchange(connection: socket.socket, request: bytes, deadline_s: float) -> Reply:
    decoder = Decoder()
    connection.sendall(encode_opening("DEALER"))
    is_asked = False
    while True:
        # A timeout of 0 would make the socket a non-blocking one.
        connection.settimeout(max(deadline_s - time.monotonic(), 0.001))
        received = connection.recv(RECEIVE_BYTES_MAX)
        if not received:
            raise ConnectionResetError("the daemon closed the connection")
        for message in decoder.feed(received):
            return decode_reply(message[-1])
        if decoder.is_ready and not is_asked:
            connection.sendall(encode_frame(request))
            is_asked = True
        if time.monotonic() >= deadline_s:
            raise TimeoutError


def _silent(home: Home, discovery: Discovery, timeout_s: float) -> NoAnswer:
    return NoAnswer(
        f"the daemon of {home.path} (pid {discovery.pid}) listens and gave no answer"
        f" in {timeout_s:.3g} s",
        pid=discovery.pid,
    )
