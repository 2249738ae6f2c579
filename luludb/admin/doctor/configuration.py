"""Checks of the settings: the file, the environment, and what the daemon runs with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import Serving, Situation
from luludb.settings import variable_of

_PREFIX: Final = "LULUDB_"
_OTHER_VARIABLES: Final = frozenset({"LULUDB_HOME", "LULUDB_TEST_DATA", "LULUDB_NO_SKIPS"})


def check_settings(situation: Situation) -> Iterator[Finding]:
    """A daemon refuses to start with a setting that it does not know."""
    for problem in situation.settings_problems:
        yield Finding(
            Level.PROBLEM,
            "settings",
            f"{problem}. A daemon refuses to start with it",
            luludb_command(situation.home, "config"),
        )
    if not situation.settings_problems:
        changed = [each.name for each in situation.explained if each.source != "default"]
        yield Finding(Level.OK, "settings", ", ".join(changed) or "all at their defaults")


def check_overrides(situation: Situation) -> Iterator[Finding]:
    """Who edits the file wonders why nothing happens."""
    for each in situation.explained:
        if each.source == "environment" and "file" in each.overrides:
            yield Finding(
                Level.NOTE,
                "settings",
                f"{variable_of(each.name)} in this environment overrides {each.name} in"
                f" {situation.home.settings}; a daemon that a service manager starts does not"
                " see it",
                f"unset {variable_of(each.name)}",
            )


def check_environment(situation: Situation) -> Iterator[Finding]:
    """A misspelt variable sets nothing, without a word."""
    known = _OTHER_VARIABLES | {variable_of(each.name) for each in situation.explained}
    for name in sorted(situation.env):
        if name.startswith(_PREFIX) and name not in known:
            yield Finding(
                Level.NOTE,
                "environment",
                f"{name} is no variable that luludb knows; `luludb config` lists them",
                f"unset {name}",
            )


def check_durability(situation: Situation) -> Iterator[Finding]:
    """A daemon runs with the settings of its start."""
    match situation.answer:
        case Serving(status) if status["durability"] != situation.settings.durability:
            yield Finding(
                Level.NOTE,
                "durability",
                f"the daemon runs at {status['durability']}, by a flag or by settings that it"
                f" started with; started from here it would run at"
                f" {situation.settings.durability}",
                situation.restart,
            )
        case Serving(status):
            yield Finding(Level.OK, "durability", str(status["durability"]))
