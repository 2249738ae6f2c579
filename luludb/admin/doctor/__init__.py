"""`luludb doctor`: one function a check. Nothing here changes a file, or locks one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from luludb.admin.doctor import (
    agents,
    configuration,
    database,
    place,
    service,
    serving,
    waiting,
)
from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.inspection import Inspection, inspected
from luludb.admin.doctor.situation import Situation, look_at
from luludb.home import Home
from luludb.limits import DOCTOR_CHECKED_BYTES_MAX

__all__ = ["DATABASE_CHECKS", "HOME_CHECKS", "Finding", "Level", "examine"]

Check = Callable[[Situation], Iterator[Finding]]
DatabaseCheck = Callable[[Situation, Inspection], Iterator[Finding]]
Show = Callable[[str, int, int | None], None]

HOME_CHECKS: Final[Sequence[Check]] = (
    place.check_owner,
    place.check_permissions,
    place.check_link,
    place.check_file_system,
    place.check_room,
    place.check_socket_path,
    place.check_leftovers,
    configuration.check_settings,
    configuration.check_overrides,
    configuration.check_environment,
    serving.check_daemon,
    serving.check_version,
    serving.check_lock_file,
    serving.check_failure,
    serving.check_open_files,
    serving.check_foreign_writers,
    configuration.check_durability,
    service.check_service,
    service.check_linger,
    agents.check_agent,
    waiting.check_log,
    waiting.check_write_lock,
)
"""The checks of a home that is there, in the order in which they are shown."""

DATABASE_CHECKS: Final[Sequence[DatabaseCheck]] = (
    database.check_sqlite,
    database.check_readable,
    database.check_damage,
    database.check_indexes,
    database.check_triggers,
    database.check_foreign_tables,
    database.check_orphans,
    database.check_clock,
    database.check_ledger,
    database.check_changes,
    database.check_free_pages,
)
"""The checks of a database that is there."""


def examine(home: Home, *, check: str | None, timeout_s: float, show: Show) -> list[Finding]:
    """Look at everything. It works without a daemon, and with one that is stuck.

    Args:
        home: of which luludb.
        check: of the database: `quick` or `full`, `none`; None is quick unless it is large.
        timeout_s: how long to wait for the daemon at the most.
        show: told what is being done.
    """
    show("asking the daemon", 0, None)
    situation = look_at(home, timeout_s=timeout_s)
    findings = list(place.check_home(situation))
    if not home.path.is_dir():
        findings += configuration.check_environment(situation)
        return findings
    if not os.access(home.path, os.R_OK | os.X_OK):
        return [*findings, _closed_to_us(str(home.path), "it is closed to this user")]
    findings += _made(HOME_CHECKS, situation)
    return findings + list(_of_the_database(situation, check, show))


def _made(checks: Iterable[Check], situation: Situation) -> Iterator[Finding]:
    for check in checks:
        yield from _said_by(check, situation)


def _said_by(check: Check, situation: Situation) -> list[Finding]:
    """What a check says; where it is not allowed to look, that."""
    try:
        return list(check(situation))
    except OSError as error:
        return [_closed_to_us(str(error.filename), str(error.strerror))]


def _closed_to_us(path: str, reason: str) -> Finding:
    return Finding(
        Level.WARNING,
        "access",
        f"{path} cannot be looked at: {reason}; run luludb as the owner of the home",
        f"ls -ld {shlex.quote(path)}",
    )


def _of_the_database(situation: Situation, check: str | None, show: Show) -> Iterator[Finding]:
    home = situation.home
    if not home.database.exists():
        yield Finding(Level.NOTE, "database", "there is none yet; the first daemon makes it")
        return
    size_bytes = home.database.stat().st_size
    if check is None and size_bytes > DOCTOR_CHECKED_BYTES_MAX:
        check = "none"
        yield Finding(
            Level.NOTE,
            "integrity",
            f"not checked, since the database has {size_bytes / (1 << 30):,.1f} GiB and a check"
            " reads them all",
            luludb_command(home, "doctor", "--full"),
        )
    show("checking the database", 0, None)
    found = inspected(home, check=check or "quick")
    for database_check in DATABASE_CHECKS:
        yield from database_check(situation, found)
