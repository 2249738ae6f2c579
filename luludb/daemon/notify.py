"""What the daemon tells systemd: that it serves, lives and stops (sd_notify(3)).

One datagram each to the socket that `NOTIFY_SOCKET` names. Where it names none, nobody is told.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

from luludb.limits import NOTIFY_S_MAX, POLL_MS_MAX

_ALIVE_PER_WATCHDOG: Final = 3  # so that one that comes late, and one that is lost, do no harm
_log = logging.getLogger(__name__)


class ServiceManager:
    """The systemd that started this process, or nobody.

    Attributes:
        alive_ms: how often it has to hear `alive`.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        # A service that starts a daemon of its own hands its variables down to it, and what that
        # daemon says must not be taken for the service's words.
        own_pid = str(os.getpid())
        is_service = env.get("SYSTEMD_EXEC_PID", own_pid) == own_pid
        self._address = env.get("NOTIFY_SOCKET", "") if is_service else ""
        watchdog_us = env.get("WATCHDOG_USEC", "")
        self._is_watched = watchdog_us.isdecimal() and env.get("WATCHDOG_PID") == own_pid
        self.alive_ms = POLL_MS_MAX
        if self._is_watched:
            self.alive_ms = max(1, int(watchdog_us) // 1000 // _ALIVE_PER_WATCHDOG)

    def ready(self) -> None:
        """Say that the daemon serves: whoever asked systemd to start it waits for this."""
        try:
            self._tell("READY=1", timeout_s=NOTIFY_S_MAX)
        except OSError as error:
            # Clients are served all the same, until systemd gives up waiting.
            _log.warning("systemd cannot be told that the daemon serves: %s", error)

    def alive(self) -> None:
        """Say that the loop turns: without it for the watchdog's time, systemd starts it anew."""
        if not self._is_watched:
            return
        # A manager that is busy, or gone, must not hold up the loop; the next one may arrive.
        with contextlib.suppress(OSError):
            self._tell("WATCHDOG=1", timeout_s=0)

    def stopping(self) -> None:
        """Say that the daemon is about to end of its own accord."""
        with contextlib.suppress(OSError):
            self._tell("STOPPING=1", timeout_s=0)

    def _tell(self, state: str, *, timeout_s: float) -> None:
        if not self._address:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(timeout_s)
            sender.sendto(state.encode(), name)
