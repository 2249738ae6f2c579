"""A blocking call in one piece, where nothing else is under way in its client, as mostly.

Its command is sent, waited for and answered here, with no state to keep but its seq. Whatever else
happens, no answer in time, a refusal, a cut connection, a signal, the command is *adopted* into the
line, as one that was sent, and goes the general way.
"""

from __future__ import annotations

import select
import socket
from socket import MSG_NOSIGNAL
from typing import Any

from luludb.errors import InvalidRequest
from luludb.limits import ALONE_MS_MAX, RECEIVE_BYTES_MAX
from luludb.wire import encode_request, good_body
from luludb_client.channel import Channel
from luludb_client.core import Core
from luludb_client.line import Command, Packed
from luludb_client.zmtp import encode_frame, only_payload

_ALONE_S = ALONE_MS_MAX / 1000


def request_alone(core: Core, content: bytes, full: bool, now_s: float) -> bytes | None:
    """The request for a command that finds nothing in line and may go at once, else None.

    Nothing changes. Once it was written, `answered` or `Core.adopt` has to be called before
    anything else.
    """
    line = core.line
    if (
        not core.is_ready
        or line.open
        or line.unsent
        or core.hello_wanted
        or core.wants_reconnect
        or now_s < core.paused_until_s
        or now_s >= core.due_s
    ):
        return None
    last_seq = line.last_seq
    return encode_request(core.client_id, last_seq + 1, last_seq, content, full)


def answered(core: Core, payload: bytes) -> dict[str, Any] | None:
    """Take the answer to what went alone. Returns its body; None where it is none, or a refusal."""
    seq = core.line.last_seq + 1
    try:
        body = good_body(payload, seq)
    except InvalidRequest:
        return None
    if body is not None:
        core.line.last_seq = seq  # from here on it counts as answered
        core.seen.kept(seq, body)
    return body


class Alone:
    """Calls over the connection of a `Channel`, whose invariant it keeps."""

    def __init__(self, core: Core, channel: Channel) -> None:
        self._core = core
        self._channel = channel
        self._poll = select.poll()
        self._polled: socket.socket | None = None

    def call(
        self, packed: Packed, now_s: float, timeout_s: float
    ) -> dict[str, Any] | Command | None:
        """Send a command and wait for its answer, for ALONE_MS_MAX at the most.

        Returns:
            The reply's body, or the command where it is in line now; None where nothing was sent.
        """
        core, channel = self._core, self._channel
        connection = channel.connection
        if (
            connection is None
            or channel.is_inside
            or channel.is_broken
            or channel.rest
            or not channel.decoder.is_between
            or timeout_s < _ALONE_S
        ):
            return None
        payload = request_alone(core, packed[0], packed[2], now_s)
        if payload is None:
            return None
        frame = encode_frame(payload)
        channel.is_inside = True  # first, so that an exception in between leaves nothing behind
        channel.alone = core.line.last_seq + 1, packed, now_s, timeout_s
        answer: dict[str, Any] | Command | None = None
        try:
            sent = connection.send(frame, MSG_NOSIGNAL)
        except OSError:
            sent = 0  # whatever it is, the general way meets it again
        if sent == len(frame):
            answer = self._receive(connection, now_s)
        elif sent:
            answer = channel.adopt_alone(now_s)
            channel.wants_write = True
            channel.rest = frame[sent:]
        channel.alone = None
        channel.is_inside = False
        return answer

    def _receive(self, connection: socket.socket, now_s: float) -> dict[str, Any] | Command | None:
        if connection is not self._polled:
            self._poll = select.poll()
            self._poll.register(connection, select.POLLIN)
            self._polled = connection
        if not self._poll.poll(ALONE_MS_MAX):
            return self._channel.adopt_alone(now_s)
        try:
            received = connection.recv(RECEIVE_BYTES_MAX)
        except OSError:
            received = b""
        payload = only_payload(received)
        if payload is not None:
            body = answered(self._core, payload)
            if body is not None:
                return body
        command = self._channel.adopt_alone(now_s)
        self._channel.take(received, now_s)
        return command
