"""A small file system of its own, which can be filled and given room again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted file system. `home` is for a daemon; what fills the disk lies beside it."""

    def __init__(self, path: Path) -> None:
        self.home = path / "home"
        self._ballast = path / "ballast"

    def free_bytes(self) -> int:
        """How much room there is."""
        found = os.statvfs(self._ballast.parent)
        return found.f_bavail * found.f_frsize

    def fill(self, free_bytes: int) -> None:
        """Leave room for so many bytes more."""
        wanted = self.free_bytes() - free_bytes
        with self._ballast.open("ab") as file:
            file.write(b"\xff" * max(0, wanted))

    def make_room(self) -> None:
        """Take away what `fill` wrote."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[SmallDisk]:
    """A tmpfs of that size, unmounted at the end. Skips the test where it cannot be mounted."""
    path = Path(tempfile.mkdtemp(prefix="lulu-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "luludb-test", str(path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        path.rmdir()
        pytest.skip(f"privilege: a file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()
