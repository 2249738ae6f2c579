"""Checks of what manages the daemon of this home: a systemd user unit. Nothing is started."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import Serving, Situation

_LINGERING: Final = Path("/var/lib/systemd/linger")


def check_service(situation: Situation) -> Iterator[Finding]:
    """Whether the unit can start, is started at login, and did not fail."""
    unit = situation.unit
    if unit is None:
        return
    name, state = unit.path.name, unit.state
    if unit.program is None or shutil.which(unit.program) is None:
        yield Finding(
            Level.PROBLEM,
            "service",
            f"{unit.path} starts {unit.program or 'nothing'}, which is not there: luludb was"
            " moved or removed since, and the service cannot start",
            luludb_command(situation.home, "service", "install"),
        )
    elif state.get("ActiveState") == "failed":
        yield Finding(
            Level.PROBLEM,
            "service",
            f"{name} failed ({state.get('Result', 'no reason given')}) and systemd starts it"
            " no more; its log says why",
            luludb_command(situation.home, "service", "logs"),
        )
    elif state.get("UnitFileState") == "disabled" and not unit.has_socket:
        yield Finding(
            Level.WARNING,
            "service",
            f"{name} is there and not enabled: it does not start at the next login",
            f"systemctl --user enable {name}",
        )
    elif state.get("ActiveState") == "inactive" and isinstance(situation.answer, Serving):
        stop = luludb_command(situation.home, "stop")
        yield Finding(
            Level.WARNING,
            "service",
            f"{name} does not run, and a daemon that was started otherwise serves this home:"
            " nobody starts that one again after a failure",
            f"{stop} && {luludb_command(situation.home, 'service', 'start')}",
        )
    else:
        said = state.get("ActiveState", "systemd does not answer here")
        yield Finding(Level.OK, "service", f"{name}: {said}")


def check_linger(situation: Situation) -> Iterator[Finding]:
    """Without lingering a user's services end with the last session."""
    unit = situation.unit
    if unit is None or not _LINGERING.parent.is_dir():
        return
    if not (_LINGERING / pwd.getpwuid(os.getuid()).pw_name).exists():
        yield Finding(
            Level.NOTE,
            "service",
            f"{unit.path.name} ends with your last login session, since lingering is off",
            "loginctl enable-linger",
        )
