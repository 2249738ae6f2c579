"""What a check says: how bad it is, what was found and why it matters, and what to type."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum

from luludb.home import Home, find_home


class Level(StrEnum):
    """How bad it is. A *warning* or a *problem* is a finding, the other two are not."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"

    @property
    def is_finding(self) -> bool:
        return self in {Level.WARNING, Level.PROBLEM}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Attributes:
        check: its name.
        found: what was found, and why it matters.
        remedy: a command to type; None where there is nothing to do.
    """

    level: Level
    check: str
    found: str
    remedy: str | None = None


def luludb_command(home: Home, *words: str) -> str:
    """A command to type, for this home: with `--home` where `luludb` alone would take another."""
    named = () if find_home() == home else ("--home", str(home.path))
    return shlex.join(("luludb", *words, *named))


def sqlite_command(home: Home, statement: str) -> str:
    """A command to type that runs a statement on the database, while no daemon serves it."""
    stop, start = luludb_command(home, "stop"), luludb_command(home, "start")
    return f"{stop} && {shlex.join(('sqlite3', str(home.database), statement))} && {start}"
