"""The daemon's sockets: ROUTER for commands, XPUB for change notices. Bytes in, bytes out."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from luludb.daemon.exchange import Envelope
from luludb.daemon.figures import Figures
from luludb.daemon.inherited import Inherited
from luludb.daemon.seldom import SeldomLog
from luludb.limits import (
    DRAIN_BYTES_MAX,
    DRAIN_FRAMES_MAX,
    RING_COMMITS_MAX,
    SOCKET_BACKLOG_CONNECTIONS_MAX,
    SOCKET_LINGER_MS,
    SOCKET_QUEUE_MESSAGES_MAX,
    TRANSPORT_FRAME_BYTES_MAX,
)
from luludb.tables.changes import ChangeRow
from luludb.wire import encode_notice

_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_log = logging.getLogger(__name__)
_UNREAD = (
    f"a client does not read its replies: {SOCKET_QUEUE_MESSAGES_MAX} wait for it, and more are not"
    " sent; they are kept until it asks for them again"
)


class Sockets:
    """Both sockets, bound under `directory`. Only one who holds the home's lock may make them.

    libzmq's bind unlinks whatever is at its path first, a live daemon's socket too. Those that
    were `inherited` are bound already, and stay when the daemon stops.
    """

    def __init__(
        self, directory: Path, figures: Figures, inherited: Inherited | None = None
    ) -> None:
        self._figures = figures
        self._stay = inherited is not None
        self._subscriptions = 0
        self._seldom = SeldomLog(_log)
        self._connections: set[int] = set()
        self._unrung: list[Sequence[ChangeRow]] = []
        self._paths = (directory / "command.sock", directory / "changes.sock")
        self.command_endpoint, self.changes_endpoint = (f"ipc://{path}" for path in self._paths)
        self._context = zmq.Context()
        self._wakeup, self.wakeup_sender = socket.socketpair()
        self._wakeup.setblocking(False)
        self.wakeup_sender.setblocking(False)
        self._router = self._open(zmq.ROUTER)
        # Without it a reply to a peer that is slow or gone is dropped without a word.
        self._router.set(zmq.ROUTER_MANDATORY, 1)
        self._changes = self._open(zmq.XPUB)
        self._monitor = self._router.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
        )
        if inherited is not None:
            # libzmq listens on these, whatever bind is told, and leaves what is at the path.
            self._router.set(zmq.USE_FD, inherited.command)
            self._changes.set(zmq.USE_FD, inherited.changes)
        self._router.bind(self.command_endpoint)
        self._changes.bind(self.changes_endpoint)
        self._poller = zmq.Poller()
        for each in (self._router, self._changes, self._monitor, self._wakeup):
            self._poller.register(each, zmq.POLLIN)

    def wait(self, timeout_ms: int, *, look_ms: float = 0.0) -> bool:
        """Wait until something happens. Returns whether frames are there.

        Args:
            timeout_ms: at most that long.
            look_ms: how long of it to look for frames again and again before going to sleep.
        """
        until_s = time.monotonic() + look_ms / 1000
        while time.monotonic() < until_s:
            if int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                timeout_ms = 0
                break
        events = dict(self._poller.poll(timeout_ms))
        if self._changes in events:
            self._count_subscriptions()
        if self._monitor in events:
            self._count_connections()
        if self._wakeup.fileno() in events:
            self._wakeup.recv(4096)
        return self._router in events

    def drain(self) -> Iterator[tuple[Envelope, bytes]]:
        """The frames that wait, `(envelope, payload)` each, up to the bounds of one batch."""
        # recv_multipart and send_multipart take 2.9 and 2.8 µs for two frames, this 1.5 and 0.9.
        receive, option = self._router.recv, self._router.getsockopt
        drained_bytes = 0
        for _ in range(DRAIN_FRAMES_MAX):
            if drained_bytes >= DRAIN_BYTES_MAX:
                return
            try:
                envelope = [receive(_NOBLOCK)]
            except zmq.Again:
                return
            frame = receive(_NOBLOCK)  # a message comes whole, and ROUTER's has two frames at least
            drained_bytes += len(frame)
            if option(zmq.RCVMORE):
                parts = self._router.recv_multipart(_NOBLOCK)
                drained_bytes += sum(map(len, parts))
                if frame or len(parts) > 1:
                    self._figures.dropped_frames_total += 1
                    self._seldom.log(
                        logging.WARNING,
                        "dropped_frames",
                        "dropped a message of a shape that is not the protocol's",
                    )
                    continue
                envelope.append(frame)
                frame = parts[0]
            yield envelope, frame

    def send(self, replies: Sequence[tuple[Envelope, bytes]]) -> None:
        """Send replies without waiting for anyone.

        One that cannot be sent, since its peer is gone or does not read, is dropped: the ledger
        keeps it, and its owner asks again.
        """
        send = self._router.send
        for envelope, frame in replies:
            try:
                for part in envelope:
                    send(part, _NOBLOCK_MORE)
                send(frame, _NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno == errno.EAGAIN:
                    self._seldom.log(logging.WARNING, "unread_replies", _UNREAD)
                elif error.errno != errno.EHOSTUNREACH:
                    raise

    def publish(self, batches: Sequence[Sequence[ChangeRow]]) -> None:
        """Ring for each touched session of each batch; nothing is done where nobody listens.

        While frames wait, which the next turn takes at once, a few batches are rung for together:
        their listeners are woken once.
        """
        if not self._subscriptions:
            return
        self._unrung += batches
        is_awaited = int(self._router.getsockopt(zmq.EVENTS)) & zmq.POLLIN
        if is_awaited and len(self._unrung) < RING_COMMITS_MAX:
            return
        # To 8 watchers, send_multipart takes 7 µs a notice, this 4.5.
        send = self._changes.send
        for changes in self._unrung:
            notice = encode_notice(changes[-1][0])
            for session_id in dict.fromkeys(change[2] for change in changes):
                send(session_id.encode(), _NOBLOCK_MORE)
                send(notice, _NOBLOCK)
        self._unrung.clear()

    def stop_listening(self) -> None:
        """Take no new connection on sockets of our own; those that are there go on."""
        # Not unbind: libzmq's listener owns the connections that it accepted and ends them with
        # itself, so that no later reply would arrive.
        if not self._stay:
            self._paths[0].unlink(missing_ok=True)

    def close(self) -> None:
        """Send what is queued, for a second at the most, and remove sockets of our own."""
        self._router.disable_monitor()
        self._monitor.close(linger=0)
        self._changes.close(linger=SOCKET_LINGER_MS)
        self._router.close(linger=SOCKET_LINGER_MS)
        self._context.term()
        self._wakeup.close()
        self.wakeup_sender.close()
        if not self._stay:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def _open(self, kind: int) -> zmq.Socket[bytes]:
        opened = self._context.socket(kind)
        opened.set(zmq.SNDHWM, SOCKET_QUEUE_MESSAGES_MAX)
        opened.set(zmq.RCVHWM, SOCKET_QUEUE_MESSAGES_MAX)
        opened.set(zmq.MAXMSGSIZE, TRANSPORT_FRAME_BYTES_MAX)
        opened.set(zmq.BACKLOG, SOCKET_BACKLOG_CONNECTIONS_MAX)
        opened.set(zmq.LINGER, SOCKET_LINGER_MS)
        return opened

    def _count_subscriptions(self) -> None:
        # XPUB passes on the first subscription to a topic and the end of the last one.
        while True:
            try:
                frame = self._changes.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if frame[:1] == b"\x01":
                self._subscriptions += 1
            elif frame[:1] == b"\x00":
                self._subscriptions = max(0, self._subscriptions - 1)

    def _count_connections(self) -> None:
        while True:
            try:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._connections.add(event["value"])
            else:
                self._connections.discard(event["value"])
        self._figures.connections = len(self._connections)
