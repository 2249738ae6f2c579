"""One non-blocking SUB socket to the daemon's changes endpoint, made anew whenever it ends.

Nothing here waits: `Watch` polls the descriptor. Without a daemon there is no socket, and a try at
growing intervals, so that one that was restarted is found soon and one that is gone costs nothing.
"""

from __future__ import annotations

import socket
from math import inf

from luludb.home import Home, read_discovery
from luludb.limits import CONNECT_PAUSE_S_MAX, CONNECT_PAUSE_S_MIN, RECEIVE_BYTES_MAX, WATCH_LOOK_S
from luludb_client.channel import endpoint_path
from luludb_client.feed import Feed
from luludb_client.subscription import OPENING, Subscription
from luludb_client.zmtp import TransportError


class Doorbell:
    """The connection that rings for one `Feed`."""

    def __init__(self, home: Home, feed: Feed) -> None:
        self._home = home
        self._feed = feed
        self._subscription = Subscription(feed)
        self._socket: socket.socket | None = None
        self._connected_s = 0.0
        self._retry_s = 0.0
        self._pause_s = CONNECT_PAUSE_S_MIN

    @property
    def descriptor(self) -> int | None:
        """What to poll for input, or None without a connection."""
        return None if self._socket is None else self._socket.fileno()

    def wakeup_s(self) -> float:
        """When `advance` has something to do although nothing was received."""
        return self._retry_s if self._socket is None else inf

    def advance(self, now_s: float) -> None:
        """Connect where that is due."""
        if self._socket is not None or now_s < self._retry_s:
            return
        discovery = read_discovery(self._home)
        if discovery is None:
            self._put_off(now_s)
            return
        connection = _connected(discovery.changes)
        if connection is None:
            self._put_off(now_s)
            return
        self._socket = connection
        self._subscription = Subscription(self._feed)
        self._connected_s = now_s

    def receive(self, now_s: float) -> None:
        """Take in all that the socket has, so that any number of notices makes one look due."""
        while self._socket is not None:
            try:
                received = self._socket.recv(RECEIVE_BYTES_MAX)
                if not received:
                    raise ConnectionResetError("the daemon closed the connection")
                to_send = self._subscription.receive(received, now_s)
                if to_send and self._socket.send(to_send, socket.MSG_NOSIGNAL) < len(to_send):
                    raise ConnectionResetError("the daemon reads nothing")
            except BlockingIOError:
                return
            except (OSError, TransportError):
                self._drop(now_s)
                return
            if len(received) < RECEIVE_BYTES_MAX:
                return  # a stream socket that gave less than it could is empty

    def close(self) -> None:
        """Close this process's descriptor; nothing is sent, so a forked child may do it too."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _drop(self, now_s: float) -> None:
        self.close()
        # One that ended at once may do so again and again.
        if now_s - self._connected_s >= CONNECT_PAUSE_S_MAX:
            self._pause_s = CONNECT_PAUSE_S_MIN
        self._put_off(now_s)

    def _put_off(self, now_s: float) -> None:
        self._retry_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, WATCH_LOOK_S)


def _connected(endpoint: str) -> socket.socket | None:
    """A socket that has sent its opening, or None where nobody listens."""
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:  # no descriptor is left, for now
        return None
    try:
        connection.setblocking(False)
        connection.connect(endpoint_path(endpoint))
        if connection.send(OPENING, socket.MSG_NOSIGNAL) == len(OPENING):
            return connection
    except OSError:
        pass
    connection.close()
    return None
