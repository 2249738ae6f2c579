"""Control requests of an event loop, as `control` makes them, each on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from luludb.errors import InvalidRequest
from luludb.home import Home
from luludb.limits import RECEIVE_BYTES_MAX
from luludb.wire import Reply
from luludb_client.control import OPENING, Question, body_of
from luludb_client.zmtp import TransportError


async def ask(home: Home, op: str, timeout_s: float) -> dict[str, Any]:
    """The body of the daemon's reply to the control request `op`.

    Raises:
        DaemonUnavailable: at once where no daemon listens; after the timeout where one listens
            and does not answer, as `NoAnswer`.
        ProtocolMismatch: it speaks another protocol.
    """
    question = Question(home, op)
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.setblocking(False)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await _exchange(connection, question)
        except (OSError, TransportError, InvalidRequest) as error:
            raise question.failed(error, timeout_s) from error
    return body_of(reply)


async def _exchange(connection: socket.socket, question: Question) -> Reply:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, question.path)
    question.is_connected = True
    await loop.sock_sendall(connection, OPENING)
    while True:
        to_send, reply = question.receive(await loop.sock_recv(connection, RECEIVE_BYTES_MAX))
        if reply is not None:
            return reply
        await loop.sock_sendall(connection, to_send)
