"""A terminal that a test types on and looks at."""

import os
import shutil
import subprocess
import time

import pytest

from tests.system.command_line import DEADLINE_S

tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, directory, *shell: str, width=80, height=24, **env: str) -> None:
        self._socket = directory / "tmux"
        environment = {**os.environ, "PS1": "$ ", "TERM": "screen-256color", **env}
        # In the foreground: one that tmux starts by itself ends where it has no session yet.
        self._server = subprocess.Popen(
            ["tmux", "-S", str(self._socket), "-f", os.devnull, "-D"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + DEADLINE_S
        while not self._socket.exists():
            assert self._server.poll() is None, "tmux ended"
            assert time.monotonic() < deadline_s, "tmux made no socket"
            time.sleep(0.01)
        self._tmux(
            *("new-session", "-d", "-x", str(width), "-y", str(height)),
            *(shell or ("/bin/sh",)),
            env=environment,
        )

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", "--", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def wait_for(self, *texts: str) -> str:
        """The screen, as soon as each of `texts` is on it."""
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            screen = self._tmux("capture-pane", "-p")
            if all(text in screen for text in texts):
                return screen
            assert time.monotonic() < deadline_s, screen
            time.sleep(0.05)

    def close(self) -> None:
        self._tmux("kill-server")
        self._server.wait(DEADLINE_S)

    def _tmux(self, *args: str, env=None) -> str:
        command = ["tmux", "-S", str(self._socket), *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return done.stdout
