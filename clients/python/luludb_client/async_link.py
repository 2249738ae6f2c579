"""How the tasks of one event loop share one `Channel`: by callbacks of the loop, and no task.

What the tasks put in line during one turn of the loop goes out together at the turn's end, as one
pipeline frame. The descriptor that the loop watches is never closed under it.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Any

from luludb.home import Home
from luludb_client.channel import Channel
from luludb_client.core import Core
from luludb_client.line import Command, Packed
from luludb_client.link import closed_error

Outcome = asyncio.Future[dict[str, Any]]


class AsyncLink:
    """The way of one event loop to its daemon.

    Invariant: all is done in the loop's thread, and `Channel.is_polled` says whether the loop
    watches the channel's descriptor.

    Args:
        home: whose daemon.
        loop: the running one.

    Attributes:
        loop: the same.
        pid: of the process that made it.
        is_closed: whether everything was given back.
    """

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pid = os.getpid()
        self._core = Core()
        self._line = self._core.line
        self._channel = Channel(home, self._core)
        self._watched: tuple[int, int] | None = None  # the descriptor and events the loop looks at
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = inf
        self._is_due = False  # whether a turn is on the loop's list
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._submitting = asyncio.Lock()  # its waiters come first in, first out
        self.is_closed = False

    # What the client calls.

    async def call(self, packed: Packed, timeout_s: float) -> dict[str, Any]:
        """Send a command and wait for its reply's body.

        Where the task is cancelled, what was not sent yet never is.

        Raises:
            LuludbError: the daemon's refusal, or what can be said without its answer.
        """
        command = Command(packed, time.monotonic(), timeout_s)
        future = self._put(command)
        try:
            return await future
        except asyncio.CancelledError:
            self._core.abandon(command)
            self._hand_out()
            raise

    async def submit(self, packed: Packed, timeout_s: float) -> Outcome:
        """Put a command in line and return the future of its reply's body.

        Waits while the window is full, at most for `timeout_s`.
        """
        command = Command(packed, time.monotonic(), timeout_s)
        async with self._submitting:
            if not self._has_room(command):
                await self._wait(lambda: self._has_room(command), command.deadline_s)
            return self._put(command)

    async def flush(self, timeout_s: float) -> None:
        """Wait until every command in line has its outcome."""
        self._check_open()
        await self._wait(self._is_flushed, time.monotonic() + timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Flush, end what is left, and give everything back. May be called again."""
        try:
            await self._wait(self._is_flushed, time.monotonic() + timeout_s)
        finally:
            self.end()

    def end(self) -> None:
        """End what is left, and give everything back."""
        if self.is_closed:
            return
        self.is_closed = True
        self._core.abandon_all()
        self._hand_out()
        self._unwatch()
        self._channel.close()
        if self._timer is not None:
            self._timer.cancel()

    def let_go(self) -> None:
        """Close the socket of a loop that is closed, or this process's copy after a fork.

        That loop is not touched: it looks at nothing any more, or is the parent's, with which a
        child shares it.
        """
        self.is_closed = True
        self._channel.let_go()

    # Turns of the loop.

    def _put(self, command: Command) -> Outcome:
        self._check_open()
        self._core.submit(command)
        future: Outcome = self.loop.create_future()
        command.future = future
        if not self._is_due:
            self._is_due = True
            self.loop.call_soon(self._turn)
        return future

    def _turn(self) -> None:
        """Do what is due, write what can be written, and hand out what is decided."""
        self._is_due = False
        if self.is_closed:
            return
        channel = self._channel
        now_s = time.monotonic()
        if now_s >= self._core.due_s:
            # Something else may have held the loop up: what came meanwhile is not late.
            channel.receive(now_s)
        channel.advance(now_s)
        if channel.is_broken:
            self._unwatch()
            channel.advance(now_s)
        self._watch()
        self._hand_out()
        self._arm(now_s)

    def _readable(self) -> None:
        self._channel.receive(time.monotonic())
        self._turn()

    def _writable(self) -> None:
        self._channel.writable()
        self._turn()

    def _timed(self) -> None:
        self._timer = None
        self._timer_s = inf
        self._turn()

    def _hand_out(self) -> None:
        """Give outcomes to those who wait for them, and wake whoever waited for this state."""
        ended = self._core.ended
        if ended:
            for command in ended:
                future, outcome = command.future, command.outcome
                if future.done():
                    continue  # its task was cancelled
                if isinstance(outcome, dict):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
            ended.clear()
        if self._waiters:
            for waiter, is_over in self._waiters.items():
                if not waiter.done() and is_over():
                    waiter.set_result(None)

    def _arm(self, now_s: float) -> None:
        """Have a turn made when something is due. A timer that comes too early costs one turn."""
        wakeup_s = min(self._core.due_s, self._channel.wakeup_s())
        if wakeup_s < self._timer_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_s = wakeup_s
            # Whole milliseconds, rounded up: uvloop's timers know no others, and one of less would
            # come at once, again and again.
            wait_ms = max(0, ceil((wakeup_s - now_s) * 1000))
            self._timer = self.loop.call_later(wait_ms / 1000, self._timed)

    # The descriptor.

    def _watch(self) -> None:
        """Have the loop look at what the channel waits for."""
        interest = self._channel.interest
        if interest == self._watched or interest is None:
            return
        descriptor, events = interest
        if self._watched is None:
            self.loop.add_reader(descriptor, self._readable)
            self._channel.is_polled = True
        if events & select.POLLOUT:
            self.loop.add_writer(descriptor, self._writable)
        else:
            self.loop.remove_writer(descriptor)
        self._watched = interest

    def _unwatch(self) -> None:
        if self._watched is not None:
            descriptor, _ = self._watched
            self.loop.remove_reader(descriptor)
            self.loop.remove_writer(descriptor)
            self._watched = None
            self._channel.is_polled = False

    # State.

    async def _wait(self, is_over: Callable[[], bool], deadline_s: float) -> None:
        """Wait until `is_over`, or for the deadline."""
        while not is_over() and (left_s := deadline_s - time.monotonic()) > 0:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiters[waiter] = is_over
            try:
                async with asyncio.timeout(left_s):
                    await waiter
            except TimeoutError:
                return
            finally:
                del self._waiters[waiter]

    def _has_room(self, command: Command) -> bool:
        return self._line.has_room(command) or self.is_closed or self._core.fatal is not None

    def _is_flushed(self) -> bool:
        return not self._line.waiting or self.is_closed

    def _check_open(self) -> None:
        if self.is_closed:
            raise closed_error()
