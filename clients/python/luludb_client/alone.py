"""A blocking call in one piece, where nothing else is under way in its client, as mostly.

Its command is sent, waited for and answered here, with no state to keep but its seq. Whatever else
happens, no answer in time, a refusal, a cut connection, a signal, the command is *adopted* into the
line, as one that was sent, and goes the general way, which takes twice as many instructions.
"""

from __future__ import annotations

import select
import socket

from luludb.errors import InvalidRequest
from luludb.limits import ALONE_MS_MAX, RECEIVE_BYTES_MAX
from luludb.model import OK, PROTOCOL
from luludb.wire import decode_reply, encode_request
from luludb_client.channel import Channel
from luludb_client.core import Core
from luludb_client.line import Command
from luludb_client.zmtp import encode_frame, only_payload

_ALONE_S = ALONE_MS_MAX / 1000


def request_alone(core: Core, command: Command, now_s: float) -> bytes | None:
    """The request of a command that finds nothing in line and may go at once, else None.

    Nothing changes. Once it was written, `is_answered` or `Core.adopt` has to be called before
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
    return encode_request(core.client_id, last_seq + 1, last_seq, command.content, command.full)


def is_answered(core: Core, command: Command, payload: bytes) -> bool:
    """Take the answer to a command that went alone, if `payload` is one and no refusal."""
    try:
        protocol, seq, status, body = decode_reply(payload)
    except InvalidRequest:
        return False
    line = core.line
    if protocol != PROTOCOL or seq != line.last_seq + 1 or status != OK:
        return False
    # Without a call in between: a signal's exception must not part the one from the other.
    command.outcome = body
    line.last_seq = command.seq = seq
    core.seen.kept(seq, body)
    return True


class Alone:
    """Calls over the connection of a `Channel`, whose invariant it keeps."""

    def __init__(self, core: Core, channel: Channel) -> None:
        self._core = core
        self._channel = channel
        self._poll = select.poll()
        self._polled: socket.socket | None = None

    def call(self, command: Command, now_s: float) -> bool:
        """Send a command and wait for its answer, for ALONE_MS_MAX at the most.

        Returns:
            Whether it has its outcome or is in line; else nothing of it was sent.
        """
        channel = self._channel
        connection = channel.connection
        if (
            connection is None
            or channel.is_inside
            or channel.is_broken
            or channel.rest
            or not channel.decoder.is_between
            or now_s + _ALONE_S > command.deadline_s
        ):
            return False
        payload = request_alone(self._core, command, now_s)
        if payload is None:
            return False
        frame = encode_frame(payload)
        channel.alone = command
        channel.is_inside = True
        try:
            sent = connection.send(frame, socket.MSG_NOSIGNAL)
        except OSError:
            sent = 0  # whatever it is, the general way meets it again
        if sent == len(frame):
            self._receive(command, connection, now_s)
        elif sent:
            channel.adopt_alone(now_s)
            channel.wants_write = True
            channel.rest = frame[sent:]
        channel.alone = None
        channel.is_inside = False
        return sent > 0

    def _receive(self, command: Command, connection: socket.socket, now_s: float) -> None:
        """Take in what comes after `command` was sent; it is answered or in line then."""
        if connection is not self._polled:
            self._poll = select.poll()
            self._poll.register(connection, select.POLLIN)
            self._polled = connection
        if not self._poll.poll(ALONE_MS_MAX):
            self._channel.adopt_alone(now_s)
            return
        try:
            received = connection.recv(RECEIVE_BYTES_MAX)
        except OSError:
            received = b""
        payload = only_payload(received)
        if payload is None or not is_answered(self._core, command, payload):
            self._channel.adopt_alone(now_s)
            self._channel.take(received, now_s)
