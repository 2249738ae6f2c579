"""A daemon in a process of its own whose wall clock a test can set while it runs."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Self

# Python runs a module of this name at its start, before anything of the daemon's is imported.
SITE = """
import mmap, os, struct, time

with open(os.environ["TEST_CLOCK_FILE"], "rb") as file:
    offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
real_time_ns = time.time_ns

def time_ns():
    return real_time_ns() + struct.unpack("<q", offset)[0]

time.time_ns = time_ns
time.time = lambda: time_ns() / 1e9
"""


class WallClock:
    """The offset of the daemon's wall clock from the machine's, shared over a file."""

    def __init__(self, directory: Path) -> None:
        site = directory / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        path = directory / "offset"
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        self.env: Mapping[str, str] = {"PYTHONPATH": str(site), "TEST_CLOCK_FILE": str(path)}

    def set(self, offset_s: int) -> None:
        """Set the clock so far before or behind the machine's."""
        self._offset[:] = struct.pack("<q", offset_s * 10**9)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._offset.close()
