"""What a daemon in the background logged since it was started: why it did not."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luludb.errors import StartRefused
from luludb.home import Home
from luludb.limits import START_REASON_BYTES_MAX
from luludb.logfile import log_path, open_log


@dataclass(frozen=True, slots=True)
class StartLog:
    """The log as it was before the start.

    Attributes:
        path: of the file.
        descriptor: of the file, to which the daemon is to write.
        end_bytes: how long it was.
    """

    path: Path
    descriptor: int
    end_bytes: int

    def reason(self, pid: int) -> dict[str, Any]:
        """The event with which the daemon `pid` ended; its `message` at the least, or nothing."""
        said = [_read_line(line) for line in self._lines()]
        reasons = [
            event
            for event in said
            if event.get("pid") == pid and event.get("level") in {"error", "critical"}
        ]
        if not reasons:
            # It ended before its log began: a setting that is not allowed, or Python itself.
            reasons = [event for event in said if "pid" not in event]
        return reasons[-1] if reasons else {}

    def _lines(self) -> list[str]:
        parts = [os.pread(self.descriptor, START_REASON_BYTES_MAX, self.end_bytes)]
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            if not os.path.sameopenfile(file.fileno(), self.descriptor):  # rotated meanwhile
                parts.append(file.read(START_REASON_BYTES_MAX))
        lines = b"".join(parts).decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()]


@contextlib.contextmanager
def start_log(home: Home) -> Iterator[StartLog]:
    """The log of `home`, opened for a daemon that is about to start.

    Raises:
        StartRefused: it cannot be written.
    """
    path = log_path(home)
    try:
        descriptor = open_log(path)
    except OSError as error:
        raise StartRefused(
            f"{path}, to which a daemon in the background logs, cannot be written: {error.strerror}"
        ) from error
    try:
        yield StartLog(path, descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _read_line(line: str) -> dict[str, Any]:
    """The event of a line; one that is no JSON is a message alone."""
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and "message" in found:
            return found
    return {"message": line.strip().removeprefix("luludb: ")}
