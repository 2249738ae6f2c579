"""The systemd user unit of a home: what its file says, and what systemd says of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from luludb.home import Home, find_home
from luludb.limits import DOCTOR_COMMAND_S_MAX

_UNIT_NAME: Final = re.compile(r"luludb(-[0-9a-f]{8})?\.service")
_KEY: Final = re.compile(r"^(ExecStart|Environment)=(.*)$", re.MULTILINE)
_SHOWN: Final = "ActiveState,UnitFileState,Result,MainPID"


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit that serves a home.

    Attributes:
        path: of its file.
        program: what it starts; None where it starts nothing.
        state: what systemd says of it, by property; empty where no manager answers.
        socket_state: the same of the socket unit; empty also where there is none.
    """

    path: Path
    program: str | None
    state: Mapping[str, str] = field(default_factory=dict)
    socket_state: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_socket(self) -> bool:
        """Whether a socket unit goes with it."""
        return self.path.with_suffix(".socket").exists()

    @property
    def main_pid(self) -> int:
        """The process that systemd runs for it; 0 where there is none."""
        return int(self.state.get("MainPID", "0"))

    @property
    def awaits_a_client(self) -> bool:
        """Whether systemd listens, and no daemon runs: whoever connects has one started."""
        return self.socket_state.get("ActiveState") == "active" and self.state.get(
            "ActiveState"
        ) in {"inactive", "failed"}


def unit_of(home: Home, env: Mapping[str, str]) -> Unit | None:
    """The unit that serves `home`; None where there is none."""
    base = env.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    try:
        paths = sorted((Path(base) / "systemd" / "user").iterdir())
    except OSError:  # none was installed, or they are those of another user, as under `su`
        return None
    for path in paths:
        if _UNIT_NAME.fullmatch(path.name) and _home_of(path) == home.path:
            return _looked_at(path)
    return None


def _looked_at(path: Path) -> Unit:
    words = _words(path, "ExecStart")
    # Special executable prefixes, systemd.service(5).
    program = words[0].lstrip("@-:+!") if words else None
    socket = path.with_suffix(".socket")
    states = _shown(path.name, *([socket.name] if socket.exists() else []))
    return Unit(path, program, *states)


def _home_of(unit: Path) -> Path:
    words = _words(unit, "ExecStart")
    named = words[words.index("--home") + 1 :] if "--home" in words else []
    for word in _words(unit, "Environment"):
        if word.startswith("LULUDB_HOME="):
            named.append(word.partition("=")[2])
    return find_home(named[0] if named else None, {}).path


def _words(unit: Path, key: str) -> list[str]:
    """The words of a key, whose quotes are nearly those of a shell, systemd.service(5)."""
    try:
        text = unit.read_text("utf-8", "replace")
    except OSError:
        return []
    words: list[str] = []
    for name, value in _KEY.findall(text):
        if name == key:
            try:
                words += shlex.split(value.replace("%%", "%"))
            except ValueError:
                continue  # a quote that does not end: systemd takes no such line either
    return words


def _shown(*units: str) -> list[dict[str, str]]:
    """What systemd says of each unit, in this order; nothing where no manager answers."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", "show", *units, f"--property={_SHOWN}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=DOCTOR_COMMAND_S_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in done.stdout.split("\n\n")
    ]
