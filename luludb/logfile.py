"""The log file of a daemon in the background: where it is, who may read it, how long it gets."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from luludb.home import Home
from luludb.limits import LOG_FILE_BYTES_MAX, LOG_FILES_KEPT_MAX

_PRIVATE_FILE = 0o600


def log_path(home: Home) -> Path:
    """The file that is written now; `.1` behind its name is the one before, and so on."""
    return home.log / "daemon.log"


def open_log(path: Path) -> int:
    """A descriptor that reads the log and writes at its end. Its directory has to be there.

    Raises:
        OSError: it cannot be made, or not be written to.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, _PRIVATE_FILE)
    os.fchmod(descriptor, _PRIVATE_FILE)  # whatever the umask
    return descriptor


def keep_bounded(path: Path, *, written_to: tuple[int, ...]) -> None:
    """Let `written_to` be the file at `path`, a new one where that is full or was moved away.

    All of them have to be descriptors of one log. What the interpreter or a library writes to
    them without our logging is in the same file then, and is counted.

    Raises:
        OSError: no new file can be made; the descriptors are as they were.
    """
    written = os.fstat(written_to[0])
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    is_same = found is not None and (found.st_dev, found.st_ino) == (written.st_dev, written.st_ino)
    if is_same and written.st_size < LOG_FILE_BYTES_MAX:
        return
    if is_same:
        _rotate(path)
    descriptor = open_log(path)
    try:
        for each in written_to:
            os.dup2(descriptor, each)
    finally:
        os.close(descriptor)


def _rotate(path: Path) -> None:
    for number in range(LOG_FILES_KEPT_MAX - 1, 0, -1):
        before = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        with contextlib.suppress(FileNotFoundError):
            before.replace(path.with_name(f"{path.name}.{number}"))
