"""Lines of the log that anyone could cause many of: one a minute of each kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from luludb.errors import ORDER_CODES, PASSING_CODES, LuludbError, UnsupportedProtocol
from luludb.limits import LOGGED_AGAIN_S

# What belongs to a restart, or to a client that comes back, and is settled between the two.
_USUAL_CODES = ORDER_CODES - {UnsupportedProtocol.code}
_TOLD_CODES = PASSING_CODES | {UnsupportedProtocol.code}


class SeldomLog:
    """Logs the first event of a kind at once, and then how many there were, once a minute.

    Kinds have to be few and known: each is remembered.
    """

    def __init__(
        self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
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

    def refused(self, error: LuludbError, op: str) -> None:
        """Tell of a refusal. What the client sent is in no line, nor a message that may quote it.

        Args:
            error: the refusal.
            op: what was asked for, of any text.
        """
        if error.code in _TOLD_CODES:
            self.log(logging.WARNING, error.code, f"refused as {error.code}: {error.message}")
        elif error.code in _USUAL_CODES:
            self.log(logging.DEBUG, error.code, f"refused as {error.code}")
        else:
            self.log(logging.INFO, error.code, f"refused as {error.code}; its sender has the reason")
