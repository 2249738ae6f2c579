"""One non-blocking unix socket to the daemon, made anew whenever `Core` needs it.

Nothing here waits, and nothing here knows of threads: `Link` says when to go on.
"""

from __future__ import annotations

import select
import shlex
import socket
from math import inf

from luludb.errors import LuludbError
from luludb.home import Home, read_discovery, refuse_closed
from luludb.limits import CONNECT_PAUSE_S_MAX, CONNECT_PAUSE_S_MIN, RECEIVE_BYTES_MAX
from luludb_client.core import Core, Frame
from luludb_client.line import Command, Packed
from luludb_client.zmtp import (
    Decoder,
    TransportError,
    encode_frame,
    encode_opening,
)

Sent = tuple[int, Packed, float, float]
"""What went alone: its seq, what it is, when its call was made and its timeout in seconds."""

_OPENING = encode_opening("DEALER")
_IPC = "ipc://"
_READ_AND_WRITE = select.POLLIN | select.POLLOUT


def start_advice(home: Home) -> str:
    """How to start the daemon of `home`."""
    return f"start it with: luludb start --home {shlex.quote(str(home.path))}"


def undiscovered(home: Home) -> tuple[str, str]:
    """Why no daemon was found where `home` has no discovery file, and what to do."""
    try:
        refuse_closed(home)
    except LuludbError as error:
        return error.message, f"see: luludb doctor --home {shlex.quote(str(home.path))}"
    return f"{home.discovery} is not there", start_advice(home)


def endpoint_path(endpoint: str) -> str:
    """The socket's path in an endpoint of `daemon.json`.

    Raises:
        OSError: it is none that this client can reach.
    """
    if not endpoint.startswith(_IPC + "/"):
        raise OSError(f"endpoint is {endpoint!r}; known are those that begin with {_IPC}/")
    return endpoint.removeprefix(_IPC)


class Channel:
    """The connection of one `Core`, and what of it is under way.

    Invariant: a frame whose first byte was written is known to the core as begun, and either its
    rest follows on the same connection or the connection is closed.

    Attributes:
        connection: the socket, or None.
        decoder: of what it receives.
        rest: what has to be written before anything else.
        alone: what `Alone` has sent and not yet noted, which is in no line.
        is_inside: whether something is being done; when it is still so at the next entry, a signal
            handler's exception cut it short.
        is_broken: whether the connection is over and waits to be closed.
        is_polled: whether another thread waits on the socket now, so that it must not be closed.
        wants_write: whether the socket took less than there was.
    """

    def __init__(self, home: Home, core: Core) -> None:
        self._home = home
        self._core = core
        self.connection: socket.socket | None = None
        self.decoder = Decoder()
        self.rest = b""
        self._under_way: Frame | None = None  # being written now; None again when that is noted
        self.alone: Sent | None = None
        self.is_inside = False
        self.is_broken = False
        self._retry_s = 0.0
        self._pause_s = CONNECT_PAUSE_S_MIN
        self.is_polled = False
        self.wants_write = False
        core.unavailable = self._unavailable("no daemon was looked for yet", start_advice(home))

    @property
    def interest(self) -> tuple[int, int] | None:
        """The descriptor to poll and the events of interest, or None without a connection."""
        if self.connection is None:
            return None
        return self.connection.fileno(), _READ_AND_WRITE if self.wants_write else select.POLLIN

    def wakeup_s(self) -> float:
        """When `advance` has something to do although nothing was received."""
        if self.is_broken:
            return 0.0
        if self.connection is None and self._core.line.waiting and self._core.fatal is None:
            return self._retry_s
        return inf

    def advance(self, now_s: float) -> None:
        """Connect where that is due, and write what there is to write."""
        self._enter()
        if now_s >= self._core.due_s:
            self._core.tick(now_s)
        if self.connection is None:
            if now_s >= self.wakeup_s():
                self._connect(now_s)
        elif self._core.wants_reconnect:
            self._drop(now_s)
        if self.connection is not None and not self.is_broken:
            self._write(now_s)
        self.is_inside = False

    def adopt_alone(self, sent_s: float) -> Command | None:
        """Put in line, as sent, what went alone and was not answered; None where there is none."""
        if self.alone is None:
            return None
        seq, packed, now_s, timeout_s = self.alone
        line = self._core.line
        if seq > line.last_seq:
            self._core.adopt(Command(packed, now_s, timeout_s), sent_s)
        command = line.open.get(seq)  # it may have been put there before, or be answered
        self.alone = None
        return command

    def write(self, now_s: float) -> None:
        """Write what there is to write, while another thread may poll the socket."""
        self._enter()
        if self.connection is not None and not self.is_broken:
            self._write(now_s)
        self.is_inside = False

    def receive(self, now_s: float) -> None:
        """Take in what the socket has."""
        self._enter()
        if self.connection is not None:
            self._receive(self.connection, now_s)
        self.is_inside = False

    def writable(self) -> None:
        """The socket takes bytes again."""
        self.wants_write = False

    def close(self) -> None:
        """Give up the connection for good."""
        self._enter()
        self._drop(0.0)
        self.is_inside = False

    def let_go(self) -> None:
        """Close this process's copy of a socket that a fork left to it; nothing is sent."""
        if self.connection is not None:
            self.connection.close()

    def mend(self) -> None:
        """Bring core and connection together after a call that an exception cut short.

        A signal handler may raise one at any place, as KeyboardInterrupt is. A frame that may
        have been begun counts as sent, and a new connection makes sure of all else.
        """
        if self.is_inside:
            command = self.adopt_alone(0.0)
            if command is not None:
                self._core.abandon(command)
            if self._under_way is not None:
                self._core.began(self._under_way, 0.0)
                self._under_way = None
            self._drop(0.0)
            self.is_inside = False

    def _enter(self) -> None:
        if self.is_inside:
            self.mend()
        self.is_inside = True
        if self.is_broken and not self.is_polled:
            self._drop(self._retry_s)

    def _connect(self, now_s: float) -> None:
        discovery = read_discovery(self._home)
        if discovery is None:
            self._failed(*undiscovered(self._home), now_s=now_s)
            return
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no descriptor is left, for now
            self._failed(
                f"this process can open no socket ({error.strerror})", "close files", now_s=now_s
            )
            return
        try:
            connection.setblocking(False)
            connection.connect(endpoint_path(discovery.command))
        except OSError as error:
            connection.close()
            why = f"pid {discovery.pid} does not listen ({error.strerror or error})"
            self._failed(why, start_advice(self._home), now_s=now_s)
            return
        self.connection = connection
        self.decoder = Decoder()
        self._core.unavailable = self._unavailable(
            f"daemon (pid {discovery.pid}) does not answer", "see: luludb status"
        )
        self._core.connected(now_s)
        self.rest = _OPENING

    def _failed(self, why: str, advice: str, *, now_s: float) -> None:
        self._core.unavailable = self._unavailable(why, advice)
        self._retry_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, CONNECT_PAUSE_S_MAX)

    def _unavailable(self, why: str, advice: str) -> str:
        return f"no answer from the daemon of {self._home.path}: {why}. Nothing was sent; {advice}"

    def _write(self, now_s: float) -> None:
        assert self.connection is not None
        while not self.wants_write:
            data = self.rest
            frame = None
            if not data:
                if not self.decoder.is_ready:
                    return
                frame = self._core.next_frame(now_s)
                if frame is None:
                    return
                data = encode_frame(frame.payload)
            if not self._send(data, frame, now_s):
                return

    def _send(self, data: bytes, frame: Frame | None, now_s: float) -> bool:
        assert self.connection is not None
        self._under_way = frame
        try:
            sent = self.connection.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self._under_way = None
            self.wants_write = True
            return False
        except OSError:
            self._under_way = None
            self._drop(now_s)
            return False
        if frame is not None:
            self._core.began(frame, now_s)
            self._under_way = None
        self.wants_write = sent < len(data)
        self.rest = data[sent:] if self.wants_write else b""
        return True

    def _receive(self, connection: socket.socket, now_s: float) -> None:
        try:
            received = connection.recv(RECEIVE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self.take(received, now_s)

    def take(self, received: bytes, now_s: float) -> None:
        """Take in what was received; nothing means that the connection is at its end."""
        if not received or self.is_broken:
            self._drop(now_s)
            return
        try:
            messages = self.decoder.feed(received)
        except TransportError as error:
            self._drop(now_s)
            self._failed(str(error), start_advice(self._home), now_s=now_s)
            return
        for message in messages:
            if len(message) == 1:
                self._core.receive(message[0], now_s)
        if self._core.is_ready:
            self._pause_s = CONNECT_PAUSE_S_MIN

    def _drop(self, now_s: float) -> None:
        """Close the connection. The next one is made at once, if this one had come to its hello."""
        if self.connection is None:
            return
        was_ready = self._core.is_ready
        self._core.disconnected()
        self.rest = b""
        self.wants_write = False
        if not self.is_broken:
            self._retry_s = now_s
            if not was_ready:
                self._retry_s += self._pause_s
                self._pause_s = min(2 * self._pause_s, CONNECT_PAUSE_S_MAX)
        # A descriptor that another thread polls must not be closed under it: its number may be
        # given to another file at once.
        self.is_broken = self.is_polled
        if not self.is_polled:
            self.connection.close()
            self.connection = None
