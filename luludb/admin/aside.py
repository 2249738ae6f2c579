"""A private directory beside a file that is being made, so that its name never means half of it.

What a killed run left behind is removed by the next one in the same directory. Each run holds a
flock on its own, so nothing is taken from a run that lives. (A lock on the file itself would
meet SQLite's own where the system makes no difference between the two kinds, as macOS does.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = ".luludb-"
_SUFFIX: Final = ".part"
_NAME: Final = re.compile(rf"{re.escape(_PREFIX)}[a-z0-9_]+{re.escape(_SUFFIX)}")
FILE_NAME: Final = "lulu.db"
"""How the names of the files in such a directory begin."""


@contextlib.contextmanager
def directory_aside(parent: Path) -> Iterator[Path]:
    """A new directory in `parent`, which only its owner can enter; it is removed at the end.

    Raises:
        OSError: `parent` cannot be written to.
    """
    _remove_left_behind(parent)
    path, descriptor = _make_locked(parent)
    try:
        yield path
    finally:
        _remove(path)
        os.close(descriptor)


def directories_aside(parent: Path) -> list[Path]:
    """Those that are there, of runs that live and of runs that were killed."""
    return sorted(parent / name for name in os.listdir(parent) if _NAME.fullmatch(name))


def _make_locked(parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=parent))
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another run took it for one left behind, in the moment before the lock
        # Where there are no such locks, as on some network file systems, nothing is removed.
        if _lock(descriptor) is not False and _is_there(path, descriptor):
            return path, descriptor
        os.close(descriptor)


def _remove_left_behind(parent: Path) -> None:
    for name in os.listdir(parent):
        if not _NAME.fullmatch(name):
            continue
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours
            descriptor = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if _lock(descriptor):
                    _remove(parent / name)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Whether we hold the lock now; None where there are no such locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """Remove the files made there, whose names begin with `FILE_NAME`, and the directory."""
    for name in os.listdir(path):
        if name.startswith(FILE_NAME):
            (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # someone else put a file there, which is left alone
        path.rmdir()
