"""How the threads of one process share one `Channel`, and no thread of its own until `submit`.

Of the threads that wait one *leads*: it polls the socket, outside the lock, and does the work for
all. The others *follow*, each on a bell of its own. Whoever has something new writes it at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from math import ceil, inf
from threading import get_ident
from typing import Any, TypeVar

from luludb.errors import LuludbError
from luludb.home import Home
from luludb.limits import CALLBACKS_S_MAX, POLL_S_MAX, RECEIVE_BYTES_MAX
from luludb_client.alone import Alone
from luludb_client.channel import Channel
from luludb_client.core import Core
from luludb_client.futures import CommandFuture, resolve
from luludb_client.line import Command, Packed

Result = TypeVar("Result")

_SEVERAL = -1


def closed_error() -> LuludbError:
    """What every call of a closed client raises."""
    return LuludbError("this Client is closed; make a new one", code="closed")


def _nested_error() -> LuludbError:
    return LuludbError(
        "this call came, out of a signal handler, into the middle of another call of its thread;"
        " give the handler a Client of its own",
        code="nested",
    )


class Link:
    """The way of one process to its daemon.

    Invariant: everything is touched under the lock alone, but the poll object by the leader.
    """

    def __init__(self, home: Home) -> None:
        self._core = Core()
        self._line = self._core.line
        self._channel = Channel(home, self._core)
        self._alone = Alone(self._core, self._channel)
        self._lock: Any = threading.RLock()  # one that knows who holds it, and is not taken twice
        self._followers: dict[threading.Lock, Callable[[], object]] = {}
        self._leader: int | None = None  # the thread that polls
        self._led_until_s = inf
        self._is_closed = self._is_ended = False
        self._reader: threading.Thread | None = None
        self._finished: list[Command] = []  # with futures that the reader has to resolve
        self._resolving = 0  # commands whose futures the reader resolves now
        self._poll: select.poll | None = None
        self._polled: tuple[int, int] | None = None
        self._thread: int | None = None  # the only one that called so far, or _SEVERAL
        self._bell_in, self._bell_out = socket.socketpair()
        self._bell_in.setblocking(False)
        self._bell_out.setblocking(False)

    # What the client calls.

    def call(self, packed: Packed, now_s: float, timeout_s: float) -> dict[str, Any]:
        """Send a command and wait for its reply's body, till `timeout_s` after `now_s`.

        Raises:
            LuludbError: the daemon's refusal, or what can be said without its answer.
        """
        if self._lock._is_owned():  # as threading.Condition asks
            # A signal handler may come at any place, and what it finds then is not in order.
            raise _nested_error()
        with self._lock:
            if self._is_closed:
                raise closed_error()
            answer: dict[str, Any] | Command | None = None
            try:
                # What goes alone keeps the lock meanwhile, for a moment only: it is for a client
                # of one thread.
                if (self._thread == get_ident() or self._is_only_thread()) and self._leader is None:
                    answer = self._alone.call(packed, now_s, timeout_s)
                if isinstance(answer, dict):
                    return answer
                if answer is None:
                    if self._leader == get_ident():
                        raise _nested_error()
                    answer = Command(packed, now_s, timeout_s)
                    self._core.submit(answer)
                    if self._leader is not None:
                        self._write_beside_leader()
                return self._outcome(answer)
            except BaseException:
                # Where the caller was interrupted, it waits no longer.
                self._channel.mend()
                if isinstance(answer, Command):
                    self._core.abandon(answer)
                raise
            finally:
                if self._leader is not None or self._followers:
                    self._pass_lead()

    def _outcome(self, command: Command) -> dict[str, Any]:
        self._wait(lambda: command.outcome is not None, command.deadline_s)
        outcome = command.outcome
        if isinstance(outcome, LuludbError):
            raise outcome
        assert outcome is not None
        return outcome

    def _is_only_thread(self) -> bool:
        """Whether no other thread ever called."""
        thread = get_ident()
        if self._thread is None:
            self._thread = thread
        elif self._thread != thread:
            self._thread = _SEVERAL
        return self._thread == thread

    def submit(self, packed: Packed, now_s: float, timeout_s: float) -> Future[dict[str, Any]]:
        """Put a command in line and return the future of its reply's body.

        Waits while the window is full, at most till `timeout_s` after `now_s`.
        """
        command = Command(packed, now_s, timeout_s)
        command.future = future = CommandFuture()
        if self._lock._is_owned():
            raise _nested_error()
        with self._lock:
            if self._reader is None or self._is_closed:
                self._start_reader()
            if not self._has_room(command):
                self._wait_for_room(command)
            self._core.submit(command)
            if self._line.collects():
                if self._leader is not None and self._core.due_s < self._led_until_s:
                    self._ring_leader()
            elif self._leader is not None:
                self._write_beside_leader()
            else:
                self._channel.advance(time.monotonic())
                self._hand_out()
        return future

    def _wait_for_room(self, command: Command) -> None:
        try:
            self._wait(lambda: self._has_room(command), command.deadline_s)
        finally:
            self._pass_lead()
        self._check_open()

    def flush(self, timeout_s: float) -> None:
        """Wait until every command in line has its outcome, and every future is resolved."""
        if self._lock._is_owned():
            raise _nested_error()
        with self._lock:
            self._check_open()
            try:
                self._wait(self._is_flushed, time.monotonic() + timeout_s)
            finally:
                self._pass_lead()

    def close(self, timeout_s: float) -> None:
        """Flush, end what is left, and give everything back. May be called again."""
        if self._lock._is_owned():
            raise _nested_error()
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            try:
                if self._leader != get_ident():  # else the call that would go on waits for this one
                    self._wait(lambda: self._is_closed or not self._core.line.waiting, deadline_s)
            finally:
                self._end()
        if self._reader is not None and self._reader is not threading.current_thread():
            # It may be in a callback that takes its time.
            self._reader.join(max(deadline_s - time.monotonic(), CALLBACKS_S_MAX))

    def let_go(self) -> None:
        """Close this process's copies of what a fork left to it, and send nothing.

        The lock is not taken: in the parent another thread may have held it at the fork.
        """
        self._channel.let_go()
        self._bell_in.close()
        self._bell_out.close()

    # Waiting. The lock is held at the beginning and at the end.

    def _wait(self, done: Callable[[], object], deadline_s: float) -> None:
        """Lead or follow until `done`. At the deadline the core ends what has its deadline then."""
        while not done() and self._go_on(done, deadline_s):
            pass

    def _go_on(self, done: Callable[[], object], deadline_s: float) -> bool:
        """Lead or follow once. Returns whether the deadline is still to come."""
        now_s = time.monotonic()
        if now_s >= deadline_s:
            self._core.tick(now_s)
            self._hand_out()
            return False
        if self._leader is not None:
            if self._leader == get_ident():
                raise _nested_error()
            self._follow(done, deadline_s - now_s)
            return True
        self._channel.advance(now_s)
        self._hand_out()
        if not done():
            self._lead(now_s, deadline_s)
        return True

    def _follow(self, done: Callable[[], object], timeout_s: float) -> None:
        bell = threading.Lock()
        bell.acquire()
        self._followers[bell] = done
        try:
            self._unlocked(lambda: bell.acquire(timeout=min(timeout_s, POLL_S_MAX)))
        finally:
            self._followers.pop(bell, None)

    def _lead(self, now_s: float, deadline_s: float) -> None:
        """Wait for something to happen, receive it, and write what that allows."""
        channel = self._channel
        wakeup_s = min(deadline_s, self._core.due_s, channel.wakeup_s(), now_s + POLL_S_MAX)
        wait_s = wakeup_s - now_s if wakeup_s > now_s else 0.0
        poll = self._watched(channel.interest)
        self._led_until_s = wakeup_s
        self._leader = get_ident()
        channel.is_polled = True
        try:
            events = self._unlocked(lambda: poll.poll(ceil(wait_s * 1000)))
        finally:
            self._leader = None
            channel.is_polled = False
        if self._is_closed:
            self._give_back()
            return
        now_s = time.monotonic()
        for descriptor, event in events:
            if self._polled is not None and descriptor == self._polled[0]:
                if event & select.POLLOUT:
                    channel.writable()
                if event & ~select.POLLOUT:
                    channel.receive(now_s)
            else:
                self._bell_out.recv(RECEIVE_BYTES_MAX)
        if self._core.line.open or self._core.line.unsent:
            channel.advance(now_s)
        self._hand_out()

    def _unlocked(self, wait: Callable[[], Result]) -> Result:
        """What `wait` returns, called without the lock, which is held again in any case."""
        raised: BaseException | None = None
        try:
            self._lock.release()
            return wait()
        finally:
            # A signal handler's exception may come while the lock is waited for, or as it was
            # taken. Without it, it would be given back in the name of the thread that holds it.
            # The outer loop is for a second one, which comes as the inner one goes round.
            while True:
                try:
                    while not self._lock._is_owned():
                        try:
                            self._lock.acquire()
                        except BaseException as error:  # noqa: BLE001
                            raised = error
                    break
                except BaseException as error:  # noqa: BLE001
                    raised = error
            if raised is not None:
                raise raised

    def _watched(self, interest: tuple[int, int] | None) -> select.poll:
        """The poll object for the bell and for `interest`."""
        if interest != self._polled or self._poll is None:
            poll = select.poll()
            poll.register(self._bell_out, select.POLLIN)
            if interest is not None:
                poll.register(*interest)
            self._poll, self._polled = poll, interest
        return self._poll

    def _pass_lead(self) -> None:
        """Let a follower lead, where there is one and nobody leads."""
        if self._leader == get_ident():
            # A signal's exception came before the lead was laid down.
            self._leader = None
            self._channel.is_polled = False
        if self._followers and self._leader is None:
            follower = next(reversed(self._followers))
            # Without a call in between: a signal's exception must not leave it out and asleep.
            del self._followers[follower]
            follower.release()

    def _hand_out(self) -> None:
        """Give outcomes to those who wait for them, and wake whoever waited for this state."""
        if self._core.ended:
            self._finished += [each for each in self._core.ended if each.future is not None]
            self._core.ended.clear()
        if self._followers:
            for follower, done in list(self._followers.items()):
                if done():
                    del self._followers[follower]
                    follower.release()

    def _write_beside_leader(self) -> None:
        """Write what is new; the leader is woken only where it would not look in time."""
        self._channel.write(time.monotonic())
        interest = self._channel.interest
        if (
            interest != self._polled
            or min(self._core.due_s, self._channel.wakeup_s()) < self._led_until_s
        ):
            self._ring_leader()

    def _ring_leader(self) -> None:
        with contextlib.suppress(BlockingIOError):  # then it has rings enough to wake up for
            self._bell_in.send(b"\0")

    # State.

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed_error()

    def _has_room(self, command: Command) -> bool:
        return self._line.has_room(command) or self._is_closed or self._core.fatal is not None

    def _is_flushed(self) -> bool:
        if self._is_closed:
            return True
        if self._line.waiting:
            return False
        # Not counted where they are given out: a signal's exception could come before the counting.
        is_resolved = not (self._core.ended or self._finished or self._resolving)
        return is_resolved or threading.current_thread() is self._reader

    def _end(self) -> None:
        if self._is_ended:
            return
        self._is_closed = True
        self._core.abandon_all()
        self._hand_out()  # which wakes all who follow, since closed is what they wait for as well
        self._is_ended = True  # here, so that after a signal's exception it is done again
        if self._leader is not None:
            self._ring_leader()
        else:
            self._give_back()

    def _give_back(self) -> None:
        self._channel.close()
        self._bell_in.close()
        self._bell_out.close()

    # The reader: the thread that leads when nobody else waits, and resolves futures.

    def _start_reader(self) -> None:
        self._check_open()
        self._thread = _SEVERAL  # the reader is one more
        if self._reader is None:
            reader = threading.Thread(target=self._read, name="luludb-reader", daemon=True)
            reader.start()  # where that fails, by a limit on threads, the next submit tries again
            self._reader = reader

    def _read(self) -> None:
        with self._lock:
            if self._reader is None:  # a signal's exception came before it was noted
                self._reader = threading.current_thread()
            elif self._reader is not threading.current_thread():
                return
        while True:
            with self._lock:
                self._wait(lambda: self._is_closed or self._finished, inf)
                finished, self._finished = self._finished, []
                self._resolving = len(finished)
                is_closed = self._is_closed
                # A callback of a future may take its time, and another thread may want to lead.
                self._pass_lead()
            resolve(finished)
            with self._lock:
                self._resolving = 0
                self._hand_out()
                if self._leader is not None and not self._line.waiting:
                    self._ring_leader()  # which may be a flush
            if is_closed:
                return
