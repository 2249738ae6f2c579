"""The futures of submitted commands, which have no lock of their own unless somebody waits.

A `concurrent.futures.Future` makes a condition, and takes it to begin to run, for its result and
for whoever asks: 28,000 instructions, where the rest of a submitted command takes 45,000. Nearly
all of a window are resolved before anyone asks, so a `CommandFuture` makes its condition only for
one who uses it. It is a `Future` in all else, and what works on that works on it: `wait`,
`as_completed` and `asyncio.wrap_future` come by the condition too. The attributes used here have
been the same in every Python 3, and a test compares them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import Future
from threading import Condition, RLock
from typing import Any, NoReturn

from luludb.errors import LuludbError
from luludb_client.line import Command

_log = logging.getLogger(__name__)
_RUNNING = "RUNNING"
_FINISHED = "FINISHED"

# Held where a condition is made, and where futures without one are resolved: who made one before
# finds it used, who makes one later finds the future finished.
_settling = RLock()
os.register_at_fork(
    before=_settling.acquire,
    after_in_parent=_settling.release,
    after_in_child=_settling.release,
)


class CommandFuture(Future[dict[str, Any]]):
    """The future of the body of a command's reply.

    It runs from the beginning: what is in line cannot be cancelled.

    Attributes:
        made: the condition, or None as long as nobody used it.
    """

    _state = _RUNNING
    _result: dict[str, Any] | None = None
    _exception: BaseException | None = None
    made: Condition | None = None

    def __init__(self) -> None:
        """Nothing is made before it is needed."""

    @property
    def _condition(self) -> Condition:  # type: ignore[override]  # there it is an attribute
        if self.made is None:
            with _settling:
                # With what it guards. A signal handler, which may use the future as well, may come
                # between any two of these lines: what is there already stays.
                own = self.__dict__
                own.setdefault("_waiters", [])
                own.setdefault("_done_callbacks", [])
                own.setdefault("made", Condition())
        assert self.made is not None
        return self.made

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """As of any future; without the condition where the body is there."""
        if self._result is not None and self._state == _FINISHED:
            return self._result
        return super().result(timeout)

    def __reduce__(self) -> NoReturn:
        # Any future's condition says the same; without one the copy would wait for ever.
        raise TypeError("a future belongs to its process and cannot be pickled; send its result")


def resolve(commands: Iterable[Command]) -> None:
    """Give each command's outcome to its future."""
    used = []
    with _settling:
        for command in commands:
            future, outcome = command.future, command.outcome
            if future.made is None and type(outcome) is dict:
                future._result = outcome
                future._state = _FINISHED
            else:
                used.append(command)
    for command in used:
        try:
            if isinstance(command.outcome, LuludbError):
                command.future.set_exception(command.outcome)
            else:
                command.future.set_result(command.outcome)
        except BaseException:  # noqa: BLE001
            # The border to callbacks. A future logs their exceptions itself, but lets through what
            # is none, as SystemExit and asyncio's CancelledError: it must not end the reader,
            # for which all other futures wait.
            _log.exception("a callback of a future raised")
