"""What differs between Linux and macOS: figures of the process, and the path limit of a socket."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from luludb.limits import SOCKET_PATH_BYTES_MAX_LINUX, SOCKET_PATH_BYTES_MAX_MACOS

IS_MACOS = sys.platform == "darwin"
SOCKET_PATH_BYTES_MAX = SOCKET_PATH_BYTES_MAX_MACOS if IS_MACOS else SOCKET_PATH_BYTES_MAX_LINUX


def raise_open_files_limit() -> int:
    """Raise the soft limit on open files to the hard one and return it.

    libzmq aborts the process when accept finds no descriptor left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft  # macOS caps it at kern.maxfilesperproc, whatever the hard limit says
        return hard
    return soft


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/dev/fd" if IS_MACOS else "/proc/self/fd"))


def resident_bytes() -> int:
    """The resident memory of this process; on macOS the most there was."""
    if IS_MACOS:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()
