"""An exception out of a signal handler at any place where Python runs one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

CLIENT = "luludb_client"


class Interruption(BaseException):
    """What the handler raises."""


class _Handler:
    """A profiler that raises at the n-th place.

    CPython runs signal handlers as a function of Python's begins, as one of C's has returned,
    and at jumps back, not between any two bytecodes. The first two are what a profiler is told of.
    """

    def __init__(self, place: int) -> None:
        self.place = place

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_return") and CLIENT in frame.f_code.co_filename:
            self.place -= 1
            if self.place == 0:
                raise Interruption


def interrupted(work: Callable[[], object], place: int) -> bool:
    """Run `work`, interrupted at the n-th place of the client's. Returns whether there was one."""
    handler = _Handler(place)
    sys.setprofile(handler)
    try:
        work()
    except Interruption:
        pass
    finally:
        sys.setprofile(None)
    return handler.place <= 0
