"""ZMTP 3.0 with the NULL mechanism: bytes to messages and back, without any I/O.

The protocol is rfc.zeromq.org/spec/23. A peer sends a greeting of 64 bytes, a READY command, and
then messages of one or more frames. Greeting and READY may go out in one piece, but no message goes
before the peer's READY is in: libzmq 4.3.5 closes the connection where one comes before it sent
its own. Feeding any bytes to a `Decoder` returns messages or raises `TransportError`; any other
exception is a bug.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from luludb.errors import LuludbError
from luludb.limits import MESSAGE_FRAMES_MAX, TRANSPORT_FRAME_BYTES_MAX

Message = tuple[bytes, ...]

_MORE: Final = 0x01
_LONG: Final = 0x02
_COMMAND: Final = 0x04
_SHORT_BYTES_MAX: Final = 255
_SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
_MAJOR_VERSION: Final = 3
_MECHANISM: Final = b"NULL".ljust(20, b"\0")
# Signature, version 3.0, mechanism, as-server (which NULL does not use), filler.
_GREETING: Final = _SIGNATURE + bytes((_MAJOR_VERSION, 0)) + _MECHANISM + bytes(32)
_GREETING_BYTES: Final = 64
_long_head = Struct(">BQ").pack


class TransportError(LuludbError):
    """Is raised when the peer does not speak ZMTP 3, or its frames are beyond what is allowed."""

    code = "transport"


def encode_opening(socket_type: str) -> bytes:
    """The greeting and the READY command of a `DEALER`, `SUB` or other socket type."""
    value = socket_type.encode("ascii")
    body = b"\x05READY\x0bSocket-Type" + len(value).to_bytes(4) + value
    return _GREETING + bytes((_COMMAND, len(body))) + body


def encode_frame(payload: bytes) -> bytes:
    """A message of the one frame `payload`."""
    size = len(payload)
    if size > _SHORT_BYTES_MAX:
        return _long_head(_LONG, size) + payload
    return bytes((0, size)) + payload


class Decoder:
    """Turns what one connection receives into messages.

    Attributes:
        is_between: whether the peer is ready and no message is received in part.
        is_ready: whether the peer's greeting and READY command are in.
    """

    __slots__ = ("_buffer", "_frames", "_frames_bytes", "_greeted", "is_between", "is_ready")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._frames: list[bytes] = []  # of a message whose last frame is not in yet
        self._frames_bytes = 0
        self._greeted = False
        self.is_between = False
        self.is_ready = False

    def feed(self, received: bytes) -> list[Message]:
        """The messages that `received` completes, in order.

        Raises:
            TransportError: this is no ZMTP 3 peer with the NULL mechanism, it sent an ERROR, or
                something larger than allowed. The connection is of no more use.
        """
        buffer = self._buffer
        buffer += received
        if not self._greeted and not self._take_greeting():
            return []
        messages: list[Message] = []
        start = 0
        while True:
            end = self._take_frame(start, messages)
            if end is None:
                break
            start = end
        if start:
            del buffer[:start]
        self.is_between = self.is_ready and not buffer and not self._frames
        return messages

    def _take_greeting(self) -> bool:
        buffer = self._buffer
        # A peer that is no ZMTP peer may never send 64 bytes, so what is there is judged at once.
        for place in (0, 9):
            if len(buffer) > place and buffer[place] != _SIGNATURE[place]:
                raise TransportError(f"peer does not speak ZMTP: it began with {_excerpt(buffer)}")
        if len(buffer) > 10 and buffer[10] < _MAJOR_VERSION:
            raise TransportError(f"peer speaks ZMTP {buffer[10]}; needed is 3 or higher")
        if len(buffer) < _GREETING_BYTES:
            return False
        mechanism = bytes(buffer[12:32])
        if mechanism != _MECHANISM:
            raise TransportError(f"peer asks for the mechanism {mechanism!r}; known is NULL")
        del buffer[:_GREETING_BYTES]
        self._greeted = True
        return True

    def _take_frame(self, start: int, messages: list[Message]) -> int | None:
        """Read the frame at `start`; returns where it ends, or None where it is not whole yet."""
        buffer = self._buffer
        left = len(buffer) - start
        if left < 2:
            return None
        flags = buffer[start]
        if flags & _LONG:
            if left < 9:
                return None
            size = int.from_bytes(buffer[start + 1 : start + 9])
            body = start + 9
        else:
            size = buffer[start + 1]
            body = start + 2
        if flags > (_MORE | _LONG | _COMMAND) or size > TRANSPORT_FRAME_BYTES_MAX:
            raise TransportError(
                f"frame has flags {flags} and {size} bytes;"
                f" the most is 7 and {TRANSPORT_FRAME_BYTES_MAX}"
            )
        end = body + size
        if end > len(buffer):
            return None
        payload = bytes(memoryview(buffer)[body:end])
        if flags & _COMMAND:
            self._take_command(payload)
        else:
            self._take_payload(payload, messages, more=bool(flags & _MORE))
        return end

    def _take_command(self, body: bytes) -> None:
        name = body[1 : 1 + body[0]] if body else b""
        if name == b"READY":
            self.is_ready = True
        elif name == b"ERROR":
            raise TransportError(f"peer refused the connection: {_excerpt(body[6:])}")

    def _take_payload(self, payload: bytes, messages: list[Message], *, more: bool) -> None:
        if not self.is_ready:
            raise TransportError("peer sent a message before its READY command")
        if not more and not self._frames:
            messages.append((payload,))
            return
        self._frames.append(payload)
        self._frames_bytes += len(payload)
        if len(self._frames) > MESSAGE_FRAMES_MAX or self._frames_bytes > TRANSPORT_FRAME_BYTES_MAX:
            raise TransportError(
                f"message has {len(self._frames)} frames of {self._frames_bytes} bytes;"
                f" the most is {MESSAGE_FRAMES_MAX} and {TRANSPORT_FRAME_BYTES_MAX}"
            )
        if not more:
            messages.append(tuple(self._frames))
            self._frames = []
            self._frames_bytes = 0


def only_payload(received: bytes) -> bytes | None:
    """The payload where `received` is one whole message of one frame and no more; else None.

    A blocking call's answer nearly always is. The way over a `Decoder` copies it twice.
    """
    size = len(received)
    if size > 1 and not received[0] and received[1] == size - 2:
        return received[2:]
    if size > 9 and received[0] == _LONG and int.from_bytes(received[1:9]) == size - 9:
        return received[9:]
    return None


def _excerpt(received: bytes | bytearray) -> str:
    return repr(bytes(received[:20]))
