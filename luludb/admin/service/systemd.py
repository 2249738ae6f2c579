"""The service under systemd: its units in their places, and `systemctl --user`."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from luludb.admin.service.program import Program, State
from luludb.admin.service.tool import ADVICE, last_words, refused, run_tool
from luludb.admin.service.unit import service_unit, socket_unit
from luludb.errors import LuludbError
from luludb.home import read_discovery, remove_discovery

Tell = Callable[[str], None]


class SystemdService:
    """The user units of one home."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.unit = f"{program.name}.service"
        self._socket = f"{program.name}.socket"
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self._directory = Path(config) / "systemd" / "user"
        self.file = self._directory / self.unit
        self._socket_file = self._directory / self._socket

    def texts(self, *, with_socket: bool) -> dict[Path, str]:
        """What the files hold that `install` writes."""
        texts = {self.file: service_unit(self._program, with_socket=with_socket)}
        if with_socket:
            texts[self._socket_file] = socket_unit(self._program)
        return texts

    def install(self, *, with_socket: bool, tell: Tell) -> None:
        """Write the units, enable them, and start the service if it is not running as they say.

        Raises:
            LuludbError: there is no manager, or the service did not start.
        """
        texts = self.texts(with_socket=with_socket)
        self._check_manager()
        changed = [path for path, text in texts.items() if _text_of(path) != text]
        if self._socket_file.exists() and not with_socket:
            changed.append(self._socket_file)
        if changed:
            # A socket unit cannot take over from a service that runs.
            self._stop()
            self._write(texts, tell)
            self._call("daemon-reload")
        self._call("enable", *self._units())
        tell(f"enabled {self.unit}: it starts when you log in")
        self.start()

    def uninstall(self, *, tell: Tell) -> None:
        """Stop the service and remove what `install` wrote; the home stays as it is."""
        self._check_manager()
        discovery = read_discovery(self._program.home)
        self._stop()
        # Where the sockets were systemd's, the daemon left daemon.json to the next one.
        if (
            discovery is not None
            and discovery == read_discovery(self._program.home)
            and not Path(discovery.command.removeprefix("ipc://")).exists()
        ):
            remove_discovery(self._program.home)
        for unit in (self.unit, self._socket):
            self._ask("disable", unit)
        removed = [path for path in (self.file, self._socket_file) if path.exists()]
        for path in removed:
            path.unlink()
            tell(f"removed {path}")
        self._call("daemon-reload")
        self._ask("reset-failed", self.unit, self._socket)
        if not removed:
            tell(f"{self.unit} was not installed")
        drop_ins = self.file.with_name(f"{self.unit}.d")
        if drop_ins.exists():
            tell(f"left {drop_ins}, which is your own")

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self._check_installed()
        self._start_by("start", self._units())

    def stop(self) -> None:
        """Stop it, and its sockets, which would start it again for the next client."""
        self._check_installed()
        self._call("stop", *self._units())

    def restart(self) -> None:
        """End the daemon and start another, which serves when this returns."""
        self._check_installed()
        self._start_by("restart", [self.unit])

    def state(self) -> State:
        """How it is doing."""
        self._check_manager()
        if not self.file.exists():
            return State("not installed", starts_at_login=False, pid=None, restarts=None)
        names = ("ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "Result")
        found = self._show(*names)
        state = f"{found['ActiveState']} ({found['SubState']})"
        if found["Result"] != "success":
            state += f", last result {found['Result']}"
        return State(
            state=state,
            starts_at_login=found["UnitFileState"] == "enabled",
            pid=int(found["MainPID"]) or None,
            restarts=int(found["NRestarts"]),
        )

    def logs_command(self, *, lines: int, is_followed: bool) -> list[str]:
        """The command that shows its log."""
        self._check_installed()
        follow = ["--follow"] if is_followed else []
        return ["journalctl", "--user", f"--unit={self.unit}", f"--lines={lines}", *follow]

    def advice(self) -> str | None:
        """What the user may want to do about a service that ends when he logs out."""
        user = getpass.getuser()
        shown = run_tool(["loginctl", "show-user", user, "--property=Linger", "--value"])
        if shown.stdout.strip() == "yes":
            return None
        return f"it ends when you log out; to keep it running: loginctl enable-linger {user}"

    def _units(self) -> list[str]:
        return [self._socket, self.unit] if self._socket_file.exists() else [self.unit]

    def _write(self, texts: dict[Path, str], tell: Tell) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            aside = path.with_name(f".{path.name}.tmp")
            aside.write_text(text, encoding="utf-8")
            aside.rename(path)
            tell(f"wrote {path}")
        if self._socket_file not in texts and self._socket_file.exists():
            self._ask("disable", self._socket)
            self._socket_file.unlink()
            tell(f"removed {self._socket_file}")

    def _start_by(self, verb: str, units: list[str]) -> None:
        # Starts that a user asks for do not count against the limit of those that failed.
        self._ask("reset-failed", *units)
        done = run_tool(["systemctl", "--user", verb, *units])
        if done.returncode:
            raise refused(f"{self.unit} did not start: {self._failure(done)}")

    def _failure(self, done: subprocess.CompletedProcess[str]) -> str:
        """Why the daemon ended: its own last words, where the journal can be read."""
        found = self._show("InvocationID", "ExecMainStatus")
        this_start = f"_SYSTEMD_INVOCATION_ID={found['InvocationID']}"
        journal = ["journalctl", "--user", "--quiet", "--priority=err", "--output=cat", "--lines=1"]
        with contextlib.suppress(LuludbError):  # without a journalctl the exit status has to do
            said = run_tool([*journal, this_start]).stdout.strip()
            if said:
                return said
        if found["ExecMainStatus"] == "0":
            return last_words(done)
        return (
            f"its daemon ended with {found['ExecMainStatus']}. To see why, run it in the"
            f" foreground: luludb --home {shlex.quote(str(self._program.home.path))} serve"
        )

    def _show(self, *names: str) -> dict[str, str]:
        lines = self._call("show", self.unit, f"--property={','.join(names)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _stop(self) -> None:
        for unit in (self._socket, self.unit):
            self._ask("stop", unit)

    def _check_installed(self) -> None:
        self._check_manager()
        if not self.file.exists():
            raise refused(f"{self.unit} is not installed; luludb service install does it")

    def _check_manager(self) -> None:
        done = run_tool(["systemctl", "--user", "show", "--property=Version"])
        if done.returncode:
            raise refused(
                f"systemd's manager of this user does not answer: {last_words(done)}. A session"
                " that was logged in to has one, and one made by su or sudo has none;"
                f" {ADVICE}"
            )

    def _call(self, *arguments: str) -> str:
        done = run_tool(["systemctl", "--user", "--quiet", *arguments])
        if done.returncode:
            raise refused(f"systemctl --user {arguments[0]} failed: {last_words(done)}")
        return done.stdout

    def _ask(self, *arguments: str) -> None:
        """The same where it may have nothing to do, which systemctl calls a failure."""
        run_tool(["systemctl", "--user", "--quiet", *arguments])


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
