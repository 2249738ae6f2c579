"""The blocking iterator over changes: it waits on the doorbell and looks into the file.

It runs no thread. `next()` does the work, and the lock is held for all of it; `close` may come from
another thread, which a bell of the watch's own tells to the one that waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from math import ceil

from luludb.errors import DaemonUnavailable, LuludbError
from luludb.home import Home
from luludb.model import Change
from luludb_client.doorbell import Doorbell
from luludb_client.feed import Feed
from luludb_client.replica import Replica


class Watch(Iterator[Change]):
    """Changes in order and without gaps, as they are committed. Ends when it is closed.

    Its connections, to the daemon and to the file, are its own, and so it leaves no descriptor
    when it is closed, dropped, or has raised an error.

    Args:
        home: whose changes.
        feed: where to begin; where that is the end of the feed, it is read here and now.
        timeout_s: no read waits longer for a lock, nor `close` for a thread inside `next()`.
    """

    def __init__(self, home: Home, feed: Feed, timeout_s: float) -> None:
        self._replica = Replica(home, timeout_s)
        self._feed = feed
        self._timeout_s = timeout_s
        self._doorbell = Doorbell(home, feed)
        self._changes: deque[Change] = deque()
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._poll = select.poll()
        self._polled: int | None = None
        self._is_closed = False
        self._pid = os.getpid()
        self._turn = threading.Lock()  # held inside next(): all but the bell is the holder's
        self._ringing = threading.RLock()  # while the bell is made, rung or closed
        self._runner: int | None = None
        if feed.rev is None:
            find_end(feed, self._replica)

    def __next__(self) -> Change:
        """The next change; waits for it.

        Raises:
            StopIteration: it was closed.
            ChangesPruned: the changes behind the last one are no longer kept.
            DataLoss: the database is another one, or lacks changes that were there before.
            LuludbError: the file cannot be read, and that did not pass.
        """
        if self._pid != os.getpid():
            self._leave_inherited()
        with self._turn:
            self._runner = threading.get_ident()
            try:
                while not self._is_closed:
                    if self._changes:
                        return self._changes.popleft()
                    self._step()
                raise StopIteration
            except BaseException:
                # As with a generator, an exception is the end: it may have come between a look
                # and the changes that it brought.
                self._give_back()
                raise
            finally:
                self._runner = None

    def close(self) -> None:
        """End the iteration, in whichever thread, and close its descriptors."""
        self._is_closed = True
        if self._pid != os.getpid():
            self._ringing = threading.RLock()  # another thread may have held it at the fork
            self._give_back()
            return
        with self._ringing:
            if self._bell is not None:
                with contextlib.suppress(BlockingIOError):  # then it rings already
                    self._bell[0].send(b"\0")
        if self._runner == threading.get_ident():
            return  # in a signal handler inside next(), which gives all back on its way out
        if self._turn.acquire(timeout=self._timeout_s):
            try:
                self._give_back()
            finally:
                self._turn.release()

    def __del__(self) -> None:
        self.close()

    # Inside next().

    def _step(self) -> None:
        """Wait until something is due, and do it."""
        doorbell, feed = self._doorbell, self._feed
        self._make_bell()
        now_s = time.monotonic()
        doorbell.advance(now_s)
        wait_s = max(0.0, min(feed.due_s, doorbell.wakeup_s()) - now_s)
        if self._is_closed:  # since the bell was made
            return
        ready = dict(self._watched(doorbell.descriptor).poll(ceil(wait_s * 1000)))
        now_s = time.monotonic()
        if doorbell.descriptor in ready:
            doorbell.receive(now_s)
        if now_s >= feed.due_s and not self._is_closed:
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        feed = self._feed
        try:
            look = self._replica.look(feed.rev, feed.session_id)
        except LuludbError as error:
            feed.failed(error, now_s)
        else:
            self._changes.extend(feed.take(look, now_s))

    def _watched(self, descriptor: int | None) -> select.poll:
        """The poll object for the bell and for `descriptor`."""
        if descriptor != self._polled:
            if self._polled is not None:
                self._poll.unregister(self._polled)
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN)
            self._polled = descriptor
        return self._poll

    def _make_bell(self) -> None:
        if self._bell is None:
            with self._ringing:
                self._bell = socket.socketpair()
                for end in self._bell:
                    end.setblocking(False)
                self._poll.register(self._bell[1], select.POLLIN)

    # The end.

    def _give_back(self) -> None:
        self._is_closed = True
        self._changes.clear()
        self._close_sockets()
        self._replica.close()

    def _close_sockets(self) -> None:
        self._doorbell.close()
        with self._ringing:
            bell, self._bell = self._bell, None
            for end in bell or ():
                end.close()

    def _leave_inherited(self) -> None:
        """Go on in a forked child over descriptors of its own."""
        if self._runner is not None:
            raise LuludbError(
                "this watch was in use by another thread at the fork, so its place is not known;"
                " make a new one, with after_rev"
            )
        self._ringing = threading.RLock()
        self._close_sockets()
        self._turn = threading.Lock()
        self._poll = select.poll()
        self._polled = None
        self._pid = os.getpid()


def find_end(feed: Feed, replica: Replica) -> None:
    """Let `feed` begin behind the last change there is now; it is due at once.

    Raises:
        LuludbError: the file cannot be read.
    """
    try:
        look = replica.look(None, feed.session_id)
    except DaemonUnavailable as error:
        feed.failed(error, 0.0)
    else:
        feed.take(look, 0.0)
    feed.due_s = 0.0
