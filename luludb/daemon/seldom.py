"""Lines of the log that anyone could cause many of: one a minute of each kind."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from luludb.errors import ORDER_CODES, PASSING_CODES, LuludbError, UnsupportedProtocol
from luludb.limits import LOGGED_AGAIN_S

# What belongs to a restart, or to a client that comes back, and is settled between the two.
_USUAL_CODES = ORDER_CODES - {UnsupportedProtocol.code}
_TOLD_CODES = PASSING_CODES | {UnsupportedProtocol.code}


class SeldomLog:
    """Logs the first event of a kind at once, and then how many there were, once a minute.

    Kinds have to be few and known: each is remembered.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._logged_s: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def log(self, level: int, kind: str, message: str) -> None:
        """Log `message`, or count it where one of its kind was logged within the minute."""
        now_s = self._clock()
        if now_s - self._logged_s.get(kind, -float(LOGGED_AGAIN_S)) < LOGGED_AGAIN_S:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._logged_s[kind] = now_s
        left_out = self._left_out.pop(kind, 0)
        more = f" ({left_out} more like this since the last such line)" if left_out else ""
        fields = {"event": kind, "left_out": left_out}
        self._logger.log(level, "%s%s", message, more, extra={"fields": fields})

    def refused(self, code: str, message: str = "") -> None:
        """Tell of a refusal. Its message is logged only where it cannot quote what was sent."""
        if code in _TOLD_CODES:
            why = f": {message}" if message else ""
            self.log(logging.WARNING, code, f"refused as {code}{why}")
        elif code in _USUAL_CODES:
            self.log(logging.DEBUG, code, f"refused as {code}")
        else:
            level = logging.ERROR if code == LuludbError.code else logging.INFO
            self.log(level, code, f"refused as {code}; its sender was told why")


def described(error: BaseException) -> str:
    """What was raised and where, without its message, which may quote what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    places = ", ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames)
    return f"{type(error).__name__} at {places}"
