"""Checks of the systemd user unit of this home, where there is one. Nothing is started."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import Serving, Situation
from luludb.home import find_home
from luludb.limits import DOCTOR_COMMAND_S_MAX

_UNIT_NAME: Final = re.compile(r"luludb(-[0-9a-f]{8})?\.service")
_KEY: Final = re.compile(r"^(ExecStart|Environment)=(.*)$", re.MULTILINE)
_SIGNS: Final = "@-:+!|"  # systemd.service(5), "special executable prefixes"
_LINGERING: Final = Path("/var/lib/systemd/linger")


def check_service(situation: Situation) -> Iterator[Finding]:
    """Whether the unit can start, is started at login, and did not fail."""
    unit = _unit_of(situation)
    if unit is None:
        return
    program = _program_of(unit)
    if program is None or shutil.which(program) is None:
        yield Finding(
            Level.PROBLEM,
            "service",
            f"{unit} starts {program or 'nothing'}, which is not there: luludb was moved or removed"
            " since, and the service cannot start",
            luludb_command(situation.home, "service", "install"),
        )
        return
    state = _systemctl("show", unit.name, "--property=ActiveState,UnitFileState,Result")
    if state.get("ActiveState") == "failed":
        yield Finding(
            Level.PROBLEM,
            "service",
            f"{unit.name} failed ({state.get('Result', 'no reason given')}) and systemd starts it"
            " no more; its log says why",
            luludb_command(situation.home, "service", "logs"),
        )
    elif state.get("UnitFileState") == "disabled" and not unit.with_suffix(".socket").exists():
        yield Finding(
            Level.WARNING,
            "service",
            f"{unit.name} is there and not enabled: it does not start at the next login",
            f"systemctl --user enable {unit.name}",
        )
    elif state.get("ActiveState") == "inactive" and isinstance(situation.answer, Serving):
        stop = luludb_command(situation.home, "stop")
        yield Finding(
            Level.WARNING,
            "service",
            f"{unit.name} does not run, and a daemon that was started otherwise serves this home:"
            " nobody starts that one again after a failure",
            f"{stop} && {luludb_command(situation.home, 'service', 'start')}",
        )
    else:
        said = state.get("ActiveState", "systemd does not answer here")
        yield Finding(Level.OK, "service", f"{unit.name}: {said}")


def check_linger(situation: Situation) -> Iterator[Finding]:
    """Without lingering a user's services end with the last session."""
    unit = _unit_of(situation)
    if unit is None or not _LINGERING.parent.is_dir():
        return
    if not (_LINGERING / pwd.getpwuid(os.getuid()).pw_name).exists():
        yield Finding(
            Level.NOTE,
            "service",
            f"{unit.name} ends with your last login session, since lingering is off",
            "loginctl enable-linger",
        )


def _unit_of(situation: Situation) -> Path | None:
    """The unit that serves this home."""
    base = situation.env.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    directory = Path(base) / "systemd" / "user"
    if not directory.is_dir():
        return None
    for path in sorted(directory.iterdir()):
        if _UNIT_NAME.fullmatch(path.name) and _home_of(path) == situation.home.path:
            return path
    return None


def _program_of(unit: Path) -> str | None:
    """The program that the unit starts, without the signs that systemd takes before it."""
    words = _words(unit, "ExecStart")
    return words[0].lstrip(_SIGNS) if words else None


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


def _systemctl(*words: str) -> dict[str, str]:
    """What `systemctl --user` says, by key; nothing where there is no such manager."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=DOCTOR_COMMAND_S_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
