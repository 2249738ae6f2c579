"""How a client made with `start=True` gets a daemon where there is none."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

from luludb.errors import DaemonUnavailable
from luludb.home import Home
from luludb.limits import BACKGROUND_POLL_S
from luludb_client import control
from luludb_client.channel import start_advice

_log = logging.getLogger(__name__)


def have_daemon(home: Home, deadline_s: float) -> None:
    """Return when a daemon of `home` answers; start one if none listens.

    `luludb start` does that in a process of its own, so that the daemon is no child of this one,
    which would have to take note of its end.

    Raises:
        DaemonUnavailable: there is none, and it cannot be started; with its reason.
    """
    try:
        control.ask(home, "ping", _left_s(deadline_s))
        return
    except control.NoAnswer:
        raise
    except DaemonUnavailable as error:
        if not sys.executable:
            raise DaemonUnavailable(
                f"{error.message} (this Python has no executable to do so)"
            ) from error
    left_s = _left_s(deadline_s)
    # -P: a file of the current directory's must not be taken for a module.
    command = [sys.executable, "-P", "-m", "luludb", "start", "--home", str(home.path)]
    try:
        ended = subprocess.run(
            [*command, "--timeout", f"{left_s:.3f}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=left_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(home, f"luludb start did not end in {left_s:.1f} s") from error
    except OSError as error:
        raise _failed(home, f"{sys.executable}: {error.strerror}") from error
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
    said = [line.removeprefix("luludb: ") for line in lines]
    if ended.returncode:
        raise _failed(home, said[-1] if said else f"luludb start ended with {ended.returncode}")
    for line in said:
        _log.warning("%s", line)


def _left_s(deadline_s: float) -> float:
    return max(deadline_s - time.monotonic(), BACKGROUND_POLL_S)


def _failed(home: Home, why: str) -> DaemonUnavailable:
    return DaemonUnavailable(
        f"no daemon serves {home.path}, and none could be started: {why}. Nothing was sent;"
        f" {start_advice(home)}"
    )
