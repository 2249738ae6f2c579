"""The daemon in launchd's words: a property list (launchd.plist(5))."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any, Final

from luludb.admin.service.program import Program

_OPEN_FILES: Final = 10240  # what every macOS grants a process; the usual soft limit is 256


def agent_file(program: Program, user_home: Path) -> Path:
    """Where launchd looks for the agents of the user."""
    return user_home / "Library" / "LaunchAgents" / f"{program.name}.plist"


def log_file(program: Program, user_home: Path) -> Path:
    """Where the daemon's log goes: launchd has no journal."""
    return user_home / "Library" / "Logs" / f"{program.name}.log"


def launch_agent(program: Program, user_home: Path) -> str:
    """The agent's property list, as XML."""
    log = str(log_file(program, user_home))
    keys: dict[str, Any] = {
        "Label": program.name,
        "ProgramArguments": program.arguments,
        "RunAtLoad": True,
        # A clean stop is meant; launchd cannot tell a refusal, 1, from other failures, and tries
        # again every ten seconds.
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Interactive",  # otherwise processor and disk are throttled
        "ExitTimeOut": 60,
        "Umask": 0o077,
        "SoftResourceLimits": {"NumberOfFiles": _OPEN_FILES},
        "EnvironmentVariables": {"PYTHONFAULTHANDLER": "1"},
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(keys, sort_keys=False).decode()
