"""Programs of the system that a service is worked with: `systemctl`, `loginctl`, `launchctl`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from luludb.errors import LuludbError

ADVICE = "a daemon needs no service manager: luludb start runs one in the background"


def run_tool(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, with what it says.

    Raises:
        LuludbError: it is not on this machine.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise refused(f"there is no {command[0]} on this machine; {ADVICE}") from error


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What the tool said on standard error, on one line."""
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}"


def refused(message: str) -> LuludbError:
    """The error of a service that cannot be worked as asked."""
    return LuludbError(message, code="service_refused")
