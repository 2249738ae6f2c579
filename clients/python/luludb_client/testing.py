"""A real daemon for tests: `running_daemon` starts one in a process of its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from luludb.errors import LuludbError
from luludb.home import Home, find_home, read_discovery
from luludb.limits import CONNECT_PAUSE_S_MAX
from luludb_client import control

_START_S_MAX = 30.0
_STOP_S_MAX = 30.0
_ERROR_BYTES_MAX = 20_000


class Daemon:
    """A daemon of a home, which can be killed, stopped and started again.

    Attributes:
        home: its directory.
        pid: of the process that runs now, or ran last.
    """

    def __init__(self, home: Path, *, args: Sequence[str] = (), env: Mapping[str, str]) -> None:
        self.home = home
        self.pid = 0
        self._args = args
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ended, or did not answer in 30 s; with what it wrote.
        """
        assert self._process is None, "it runs already"
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "luludb", "serve", "--home", str(self.home), *self._args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, **self._env},
        )
        self.pid = self._process.pid
        try:
            self._wait_for_answer(self._process, time.monotonic() + _START_S_MAX)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone. Nothing happens where none runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it with SIGTERM, and wait until it is gone.

        Raises:
            RuntimeError: it did not end with 0, or not in 30 s; with what it wrote.
        """
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(_STOP_S_MAX)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise RuntimeError(
                f"daemon did not stop in {_STOP_S_MAX} s: {self.stderr()}"
            ) from error
        self._process = None
        if code != 0:
            raise RuntimeError(f"daemon ended with {code}: {self.stderr()}")

    def wait(self, timeout_s: float = _STOP_S_MAX) -> int:
        """Wait until it ends by itself, and return its exit code."""
        assert self._process is not None, "it does not run"
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def stderr(self) -> str:
        """What the daemon wrote to its standard error since its last start."""
        return os.pread(self._errors.fileno(), _ERROR_BYTES_MAX, 0).decode(errors="replace")

    def close(self) -> None:
        """Kill it if it runs, and forget what it wrote."""
        self.kill()
        self._errors.close()

    def _wait_for_answer(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        home = Home(self.home)
        descriptor = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
        try:
            while True:
                discovery = read_discovery(home)
                if discovery is not None and discovery.pid == process.pid:
                    with contextlib.suppress(LuludbError):
                        control.ask(home, "ping", max(deadline_s - time.monotonic(), 0.1))
                        return
                if _has_ended(process, descriptor):
                    raise RuntimeError(f"daemon ended with {process.returncode}: {self.stderr()}")
                if time.monotonic() >= deadline_s:
                    raise RuntimeError(
                        f"daemon did not answer in {_START_S_MAX} s: {self.stderr()}"
                    )
        finally:
            if descriptor is not None:
                os.close(descriptor)


@contextlib.contextmanager
def running_daemon(
    home: str | os.PathLike[str] | None = None,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """Run a daemon until the end of the `with`; it is killed there if it still runs.

    Args:
        home: its directory; without one a temporary one, which is deleted at the end.
        args: further arguments of `luludb serve`.
        env: environment variables beside those of this process.

    Raises:
        RuntimeError: it does not start; with what it wrote.
    """
    with contextlib.ExitStack() as stack:
        if home is None:
            path = Path(tempfile.mkdtemp(prefix="lulu-"))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
        else:
            path = find_home(home).path
        daemon = Daemon(path, args=args, env=env or {})
        stack.callback(daemon.close)
        daemon.start()
        yield daemon


def _has_ended(process: subprocess.Popen[bytes], descriptor: int | None) -> bool:
    """Whether the process ended; waits for that a moment, so that asking in a loop is cheap."""
    if descriptor is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(CONNECT_PAUSE_S_MAX)
    else:
        select.select([descriptor], [], [], CONNECT_PAUSE_S_MAX)
    return process.poll() is not None
