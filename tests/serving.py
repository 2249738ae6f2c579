"""`luludb serve` as a plain child process, for tests of how it starts and ends."""

import contextlib
import os
import subprocess
import sys
import threading

DEADLINE_S = 20
# Sets both limits on itself and becomes the daemon: they are too low for the test's own process.
LIMITING = """
import os, resource, sys

_, soft, hard, *command = sys.argv
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
os.execv(command[0], command)
"""


class Server:
    """A daemon in the foreground. `lines` holds what it logged until it served, or ended.

    `open_files` is the soft and the hard limit on open files that it starts with.
    """

    def __init__(self, home, *args, env=None, open_files=None, **popen) -> None:
        self.home = home
        limited = (
            [] if open_files is None else [sys.executable, "-c", LIMITING, *map(str, open_files)]
        )
        self.process = subprocess.Popen(
            [*limited, sys.executable, "-m", "luludb", "serve", "--home", os.fspath(home), *args],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            text=True,
            encoding="utf-8",
            **popen,
        )
        self.lines: list[str] = []
        # The log is read for as long as the process lives, or a full pipe would stop it.
        self._served = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            if " serves " in line:
                self._served.set()
        self._served.set()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def wait_until_serving(self) -> None:
        assert self._served.wait(DEADLINE_S), self.log
        assert " serves " in self.log, self.log

    def wait_for_exit(self, deadline_s: float = DEADLINE_S) -> int:
        code = self.process.wait(deadline_s)
        self._reader.join(DEADLINE_S)
        return code

    def signal(self, number: int, deadline_s: float = DEADLINE_S) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait_for_exit(deadline_s)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait_for_exit()
        self.process.stderr.close()


@contextlib.contextmanager
def serving(home, *args, **options):
    """A daemon that serves, ended at the end."""
    server = Server(home, *args, **options)
    try:
        server.wait_until_serving()
        yield server
    finally:
        server.close()


def refused_start(home, *args, **options) -> tuple[int, str]:
    """Exit code and log of a daemon that must not start."""
    server = Server(home, *args, **options)
    try:
        return server.wait_for_exit(), server.log
    finally:
        server.close()
