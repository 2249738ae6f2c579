"""The service under launchd: its agent in its place, and `launchctl`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from luludb.admin.service.agent import agent_file, launch_agent, log_file
from luludb.admin.service.program import Program, State
from luludb.admin.service.tool import last_words, refused, run_tool
from luludb.limits import SERVICE_LOOK_S, SERVICE_STOP_S_MAX

Tell = Callable[[str], None]


class LaunchdService:
    """The launch agent of one home."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.unit = program.name
        self._user_home = Path.home()
        self.file = agent_file(program, self._user_home)
        self._domain = f"gui/{os.getuid()}"
        self._target = f"{self._domain}/{program.name}"

    def texts(self, *, with_socket: bool) -> dict[Path, str]:
        """What the file holds that `install` writes.

        Raises:
            LuludbError: sockets of the manager were asked for, which launchd gives no daemon.
        """
        if with_socket:
            raise refused("--socket goes with systemd alone; leave it out here")
        return {self.file: launch_agent(self._program, self._user_home)}

    def install(self, *, with_socket: bool, tell: Tell) -> None:
        """Write the agent and load it, anew where it is loaded with another text."""
        texts = self.texts(with_socket=with_socket)
        for path, text in texts.items():
            if path.exists() and path.read_text(encoding="utf-8") == text:
                continue
            self._unload()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            tell(f"wrote {path}")
        log_file(self._program, self._user_home).parent.mkdir(parents=True, exist_ok=True)
        self._call("enable", self._target)
        tell(f"enabled {self.unit}: it starts when you log in")
        self.start()

    def uninstall(self, *, tell: Tell) -> None:
        """Stop the daemon and remove what `install` wrote, and the log; the home stays as it is."""
        self._unload()
        removed = [
            path for path in (self.file, log_file(self._program, self._user_home)) if path.exists()
        ]
        for path in removed:
            path.unlink()
            tell(f"removed {path}")
        if not removed:
            tell(f"{self.unit} was not installed")

    def start(self) -> None:
        """Load the agent, which starts the daemon, or start it where the agent is loaded."""
        self._check_installed()
        if self._is_loaded():
            self._call("kickstart", self._target)
        else:
            self._call("bootstrap", self._domain, str(self.file))

    def stop(self) -> None:
        """Unload the agent until the next login or start, which ends the daemon."""
        self._check_installed()
        self._unload()

    def restart(self) -> None:
        """Stop and start; `kickstart -k` would kill."""
        self.stop()
        self.start()

    def state(self) -> State:
        """How it is doing."""
        if not self.file.exists():
            return State("not installed", starts_at_login=False, pid=None, restarts=None)
        shown = run_tool(["launchctl", "print", self._target]).stdout
        state = re.search(r"^\s*state = (.+)$", shown, re.MULTILINE)
        pid = re.search(r"^\s*pid = ([0-9]+)$", shown, re.MULTILINE)
        return State(
            state=state[1] if state else "not loaded",
            starts_at_login=True,
            pid=int(pid[1]) if pid else None,
            restarts=None,
        )

    def logs_command(self, *, lines: int, is_followed: bool) -> list[str]:
        """The command that shows its log."""
        self._check_installed()
        follow = ["-F"] if is_followed else []
        return ["tail", "-n", str(lines), *follow, str(log_file(self._program, self._user_home))]

    def advice(self) -> str | None:
        """What the user may want to do about a service that ends when he logs out."""
        return "it ends when you log out"

    def _check_installed(self) -> None:
        if not self.file.exists():
            raise refused(f"{self.unit} is not installed; luludb service install does it")

    def _is_loaded(self) -> bool:
        return run_tool(["launchctl", "print", self._target]).returncode == 0

    def _unload(self) -> None:
        """Unload the agent and wait until it is gone: launchd returns before the daemon ended."""
        if not self._is_loaded():
            return
        run_tool(["launchctl", "bootout", self._target])
        until_s = time.monotonic() + SERVICE_STOP_S_MAX
        while self._is_loaded():
            if time.monotonic() >= until_s:
                raise refused(f"launchd did not end {self.unit} in {SERVICE_STOP_S_MAX:g} s")
            time.sleep(SERVICE_LOOK_S)

    def _call(self, *arguments: str) -> None:
        done = run_tool(["launchctl", *arguments])
        if done.returncode:
            raise refused(f"launchctl {arguments[0]} failed: {last_words(done)}")
