"""Processes of ours: each says `ready`, and ends when its standard input does."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent.parent
START_S_MAX = 120.0
END_S_MAX = 30.0
SAID_CHARACTERS_MAX = 2000


class ProcessFailed(RuntimeError):
    """Is raised when a process did not start, answer or end as it should."""


class Running:
    """A Python module run as a process, and the pipes to it."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C reaches the whole foreground group; these are ended from here, in order.
            process_group=0,
        )
        self.pid = self._process.pid

    def wait_until_ready(self, deadline_s: float) -> None:
        """Wait for the word `ready`.

        Raises:
            ProcessFailed: something else came, or nothing before `deadline_s` of the monotonic
                clock.
        """
        if self.read_line(deadline_s) != b"ready\n":
            raise self.failed("did not start")

    def tell(self, line: str) -> None:
        """Write a line to its standard input.

        Raises:
            ProcessFailed: it is gone.
        """
        stdin = self._pipe(self._process.stdin)
        try:
            stdin.write(f"{line}\n".encode())
            stdin.flush()
        except OSError as error:
            raise self.failed("is gone") from error

    def read_line(self, deadline_s: float) -> bytes:
        """The next line of its standard output.

        Raises:
            ProcessFailed: none came before `deadline_s` of the monotonic clock.
        """
        stdout = self._pipe(self._process.stdout)
        remaining_s = max(0.0, deadline_s - time.monotonic())
        readable, _, _ = select.select([stdout], [], [], remaining_s)
        if not readable:
            raise self.failed("did not answer in time")
        line = stdout.readline()
        if not line:
            raise self.failed("ended early")
        return line

    def read_bytes(self, count: int) -> bytes:
        """The next `count` bytes of its standard output.

        Raises:
            ProcessFailed: it ended before.
        """
        found = self._pipe(self._process.stdout).read(count)
        if len(found) != count:
            raise self.failed("ended early")
        return found

    def failed(self, what: str) -> ProcessFailed:
        """The error that says `what`, with what the process wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # what it says last comes with its end
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()[-SAID_CHARACTERS_MAX:]
        code = self._process.poll()
        return ProcessFailed(
            f"{self.module} {what} (exit code {code}): {said or 'it said nothing'}"
        )

    def end_input(self) -> None:
        """Let it come to its end."""
        with contextlib.suppress(OSError):
            self._pipe(self._process.stdin).close()

    def close(self) -> None:
        """Wait for its end; killed where that does not come."""
        self.end_input()
        self._pipe(self._process.stdout).close()
        try:
            self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def kill(self) -> None:
        """End it at once, as where the benchmark itself is interrupted."""
        self._process.kill()

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None, "all were asked for"
        return pipe


@contextlib.contextmanager
def running(module: str, *arguments: str) -> Iterator[Running]:
    """Run a module that is ready when the `with` begins."""
    with contextlib.ExitStack() as stack:
        process = Running(module, *arguments)
        stack.callback(process.close)
        try:
            process.wait_until_ready(time.monotonic() + START_S_MAX)
            yield process
        except BaseException:
            process.kill()
            raise
