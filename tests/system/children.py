"""Work done in a forked child."""

import os
import signal
from collections.abc import Callable

DEADLINE_S = 60


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; returns its exit code, 0 where nothing was raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(DEADLINE_S)  # a child inherits none
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
