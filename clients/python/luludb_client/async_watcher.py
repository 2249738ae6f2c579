"""The asynchronous iterator over changes: it waits on the doorbell and looks into the file.

The loop looks at the doorbell only while a task is in `__anext__`, so that nothing refers to a
watch that was dropped, and none of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from math import ceil

from luludb.errors import LuludbError
from luludb.home import Home
from luludb.limits import ASYNC_WATCH_READ_S_MAX
from luludb.model import Change
from luludb_client.doorbell import Doorbell
from luludb_client.feed import Feed
from luludb_client.look import Look
from luludb_client.offload import Offload
from luludb_client.replica import Replica
from luludb_client.watcher import find_end

_Looking = tuple[float, asyncio.Future[Look | LuludbError]]
"""When a look was begun, and what it will bring."""


class AsyncWatch(AsyncIterator[Change]):
    """Changes in order and without gaps, as they are committed. Ends when it is closed.

    A task that is cancelled while it waits loses no change: the next `anext` goes on there.

    Args:
        home: whose changes.
        feed: where to begin; where that is the end of the feed, it is read here and now, on the
            caller's thread, because what comes after the call belongs to the watch.
        timeout_s: no later read waits longer for a lock.
        offload: where the later reads are made.
    """

    def __init__(self, home: Home, feed: Feed, timeout_s: float, offload: Offload) -> None:
        self._replica = Replica(home, timeout_s)
        self._feed = feed
        self._offload = offload
        self._doorbell = Doorbell(home, feed)
        self._changes: deque[Change] = deque()
        self._waiting: asyncio.Future[None] | None = None  # of the task that is in `_wait`
        self._looking: _Looking | None = None  # may outlast the task that began it
        self._is_entered = False
        self._is_closed = False
        self._pid = os.getpid()
        if feed.rev is None:
            # On the loop's own thread, which must not stand still for long.
            replica = Replica(home, min(timeout_s, ASYNC_WATCH_READ_S_MAX))
            with contextlib.closing(replica):
                find_end(feed, replica)

    async def __anext__(self) -> Change:
        """The next change; waits for it.

        Raises:
            StopAsyncIteration: it was closed.
            ChangesPruned: the changes behind the last one are no longer kept.
            DataLoss: the database is another one, or lacks changes that were there before.
            LuludbError: the file cannot be read, and that did not pass; or another task is in it.
        """
        if self._is_entered and self._pid != os.getpid():
            raise LuludbError(
                "this watch was in use by a task at the fork; make a new one, with after_rev"
            )
        if self._is_entered:
            raise LuludbError("another task waits for this watch's next change", code="in_use")
        self._is_entered = True
        try:
            while not self._is_closed:  # a look that was under way at its end may bring changes
                if self._changes:
                    return self._changes.popleft()
                await self._step()
            raise StopAsyncIteration
        except LuludbError:
            self.close()
            raise
        finally:
            self._is_entered = False
            if self._is_closed:
                self._give_back()

    def close(self) -> None:
        """End the iteration, in whichever task, and close its descriptors."""
        self._is_closed = True
        if self._waiting is None or self._pid != os.getpid():
            self._give_back()
        else:  # that task, also a cancelled one, takes the descriptor from the loop first
            _end(self._waiting)

    async def aclose(self) -> None:
        """The same as `close`, for `contextlib.aclosing`."""
        self.close()

    def __del__(self) -> None:
        self._give_back()

    # Inside __anext__.

    async def _step(self) -> None:
        """Wait until something is due, and do it."""
        doorbell, feed = self._doorbell, self._feed
        if self._pid != os.getpid():  # this process's own connection, after a fork
            doorbell.close()
            self._pid = os.getpid()
        now_s = time.monotonic()
        doorbell.advance(now_s)
        doorbell.receive(now_s)
        if now_s >= feed.due_s:
            await self._look(now_s)
        else:
            await self._wait(min(feed.due_s, doorbell.wakeup_s()) - now_s)

    async def _wait(self, wait_s: float) -> None:
        """Wait until the doorbell has something, for `wait_s` at most."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        descriptor = self._doorbell.descriptor
        self._waiting = waiting
        timer = loop.call_later(ceil(wait_s * 1000) / 1000, _end, waiting)  # as `AsyncLink`
        if descriptor is not None:
            loop.add_reader(descriptor, _end, waiting)
        try:
            await waiting
        finally:
            self._waiting = None
            timer.cancel()
            if descriptor is not None:  # before anything may close it
                loop.remove_reader(descriptor)
            if self._is_closed:
                self._give_back()

    async def _look(self, now_s: float) -> None:
        feed = self._feed
        loop = asyncio.get_running_loop()
        if self._looking is None or self._looking[1].get_loop() is not loop:
            look_now = partial(_look_or_error, self._replica, feed.rev, feed.session_id)
            self._looking = now_s, self._offload.begin(look_now)
        began_s, future = self._looking
        if not future.done():
            # It stays for the next step if this one is cancelled: where steps are given up again
            # and again, sooner than a look is made, none would ever see a change.
            await asyncio.wait([future])
        self._looking = None
        look = future.result()
        if isinstance(look, LuludbError):
            feed.failed(look, began_s)
        else:
            self._changes.extend(feed.take(look, began_s))

    def _give_back(self) -> None:
        self._changes.clear()
        self._doorbell.close()
        self._replica.close()


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _look_or_error(replica: Replica, rev: int | None, session_id: str | None) -> Look | LuludbError:
    # Returned, as the event loop complains of an exception that nobody takes from its future.
    try:
        return replica.look(rev, session_id)
    except LuludbError as error:
        return error
