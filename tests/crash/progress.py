"""Lets a long run say how far it is, without filling the screen."""

from __future__ import annotations

import time
from collections.abc import Callable

Tell = Callable[[str], None]
"""Takes a line on how far a run is, and shows it or not."""


def tell_nobody(_line: str) -> None:
    """What a test is content with: its own name says what it does."""


class NowAndThen:
    """Passes a line on to `say` when the last one is `pause_s` ago, and leaves out the others."""

    def __init__(self, say: Tell, pause_s: float) -> None:
        self._say = say
        self._pause_s = pause_s
        self._due_s = time.monotonic() + pause_s

    def __call__(self, line: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + self._pause_s
            self._say(line)
