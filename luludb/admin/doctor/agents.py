"""Checks of what manages the daemon of this home on macOS: a launch agent. Nothing is started."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import Situation
from luludb.admin.service.program import program_of
from luludb.errors import LuludbError
from luludb.home import Home, find_home
from luludb.limits import DOCTOR_COMMAND_S_MAX

_AGENT_NAME: Final = re.compile(r"luludb(-[0-9a-f]{8})?\.plist")
_STATE: Final = re.compile(r"^\tstate = (.+)$", re.MULTILINE)
_LAST_EXIT: Final = re.compile(r"^\tlast exit code = ([0-9]+)", re.MULTILINE)
_RUNNING: Final = "running"


@dataclass(frozen=True, slots=True)
class Agent:
    """The launch agent of a home, as its property list says (launchd.plist(5)).

    Attributes:
        label: by which launchd knows it.
        program: what it starts; None where it starts nothing.
    """

    path: Path
    label: str
    program: str | None


def check_agent(situation: Situation) -> Iterator[Finding]:
    """Whether the agent can start, is started at login, and does not fail again and again."""
    try:
        usual_name = program_of(situation.home).name
    except LuludbError:
        return  # such a path stands in no property list
    try:
        paths = sorted((Path.home() / "Library" / "LaunchAgents").iterdir())
    except OSError:  # none was installed, or they are those of another user, as under `su`
        return
    for path in paths:
        if not _AGENT_NAME.fullmatch(path.name):
            continue
        try:
            with path.open("rb") as file:
                keys = plistlib.load(file)
        except (plistlib.InvalidFileException, ExpatError, ValueError) as error:
            if path.stem == usual_name:
                yield Finding(
                    Level.PROBLEM,
                    "service",
                    f"{path} is no property list ({error}): launchd loads nothing from it",
                    luludb_command(situation.home, "service", "install"),
                )
            continue
        if isinstance(keys, dict) and _home_of(keys) == situation.home:
            yield _said_of(situation, _agent(path, keys))


def _said_of(situation: Situation, agent: Agent) -> Finding:
    again = luludb_command(situation.home, "service", "install")
    if agent.program is None or shutil.which(agent.program) is None:
        return Finding(
            Level.PROBLEM,
            "service",
            f"{agent.path} starts {agent.program or 'nothing'}, which is not there: luludb was"
            " moved or removed since, and the service cannot start",
            again,
        )
    domain = f"gui/{os.getuid()}"
    disabled = rf'^\s*"{re.escape(agent.label)}" => (disabled|true)$'
    if re.search(disabled, _launchctl("print-disabled", domain) or "", re.MULTILINE):
        return Finding(
            Level.WARNING,
            "service",
            f"{agent.label} is disabled: launchd does not start it at the next login",
            again,
        )
    shown = _launchctl("print", f"{domain}/{agent.label}")
    if shown is None:
        said = "launchd has not loaded it, or does not answer here"
        return Finding(Level.OK, "service", f"{agent.path}: {said}")
    state, last_exit = _STATE.search(shown), _LAST_EXIT.search(shown)
    word = state[1] if state else "loaded"
    if word != _RUNNING and last_exit is not None and last_exit[1] != "0":
        return Finding(
            Level.PROBLEM,
            "service",
            f"{agent.label} does not run: its daemon ended with {last_exit[1]}, and launchd tries"
            " again every ten seconds; its log says why",
            luludb_command(situation.home, "service", "logs"),
        )
    return Finding(Level.OK, "service", f"{agent.label}: {word}")


def _agent(path: Path, keys: dict[str, Any]) -> Agent:
    program = keys.get("Program") or next(iter(_words(keys)), None)
    return Agent(path, str(keys.get("Label", path.stem)), None if program is None else str(program))


def _home_of(keys: dict[str, Any]) -> Home:
    words = _words(keys)
    named = words[words.index("--home") + 1 :] if "--home" in words else []
    variables = keys.get("EnvironmentVariables")
    if not named and isinstance(variables, dict) and "LULUDB_HOME" in variables:
        named = [str(variables["LULUDB_HOME"])]
    return find_home(named[0] if named else None, {})


def _words(keys: dict[str, Any]) -> list[str]:
    words = keys.get("ProgramArguments")
    return [str(word) for word in words] if isinstance(words, list) else []


def _launchctl(*words: str) -> str | None:
    """What launchctl prints; None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["launchctl", *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=DOCTOR_COMMAND_S_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
