"""What several checks look at: the settings, who serves the home, and whether it answers.

Nothing here locks, opens the database, or changes a file.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luludb.admin.doctor.finding import luludb_command
from luludb.admin.doctor.units import Unit, unit_of
from luludb.errors import DaemonUnavailable, LuludbError
from luludb.home import Discovery, Home, read_discovery
from luludb.limits import DOCTOR_ANSWER_S_MAX
from luludb.platform import flock_holders, is_stopped
from luludb.settings import Explained, Settings, explain_settings
from luludb_client import control


@dataclass(frozen=True, slots=True)
class Serving:
    """A daemon answered, with these figures."""

    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Silent:
    """Something listens at the socket and gave no answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """Something answers in a way that this luludb does not know."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotListening:
    """`daemon.json` is there, and nothing listens where it says."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """There is no `daemon.json`."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Systemd listens for the daemon, and would start one to have it answer. It was not asked."""


Answer = Serving | Silent | NotUnderstood | NotListening | Nobody | Awaited


@dataclass(frozen=True, slots=True)
class Situation:
    """What was seen of a home at the beginning.

    Attributes:
        settings: those that a daemon would start with; the defaults stand for wrong ones.
        settings_problems: what is wrong with them.
        lock_pids: who holds the home's lock; empty also where the system does not tell.
        unit: the systemd unit that serves the home, if there is one.
    """

    home: Home
    env: Mapping[str, str]
    settings: Settings
    explained: tuple[Explained, ...]
    settings_problems: tuple[str, ...]
    discovery: Discovery | None
    answer: Answer
    lock_pids: tuple[int, ...]
    unit: Unit | None

    @property
    def quoted_database(self) -> str:
        """The database's path as a shell takes it."""
        return shlex.quote(str(self.home.database))

    @property
    def restart(self) -> str:
        """A command to type that starts the daemon anew, within its service if it is of one."""
        # `luludb restart` would take it out of the service, and nobody would watch over it.
        is_of_unit = self.unit is not None and self.unit.main_pid in self.daemon_pids
        return luludb_command(self.home, *(("service",) if is_of_unit else ()), "restart")

    @property
    def daemon_pids(self) -> set[int]:
        """The processes that may be the daemon."""
        named = () if self.discovery is None else (self.discovery.pid,)
        return {*self.lock_pids, *named}


def look_at(home: Home, *, timeout_s: float, env: Mapping[str, str] = os.environ) -> Situation:
    """Look at `home` and ask its daemon, which takes as long as `timeout_s` where it is stuck."""
    explained, problems = explain_settings(home, {}, env)
    values = {each.name: each.value for each in explained if each.problem is None}
    discovery = read_discovery(home)
    lock_pids = tuple(flock_holders(home.lock))
    unit = unit_of(home, env)
    return Situation(
        home=home,
        env=env,
        settings=Settings(**values),
        explained=tuple(explained),
        settings_problems=tuple(problems),
        discovery=discovery,
        answer=_answer(home, discovery, unit, lock_pids, timeout_s),
        lock_pids=lock_pids,
        unit=unit,
    )


def _answer(
    home: Home,
    discovery: Discovery | None,
    unit: Unit | None,
    lock_pids: Sequence[int],
    timeout_s: float,
) -> Answer:
    if unit is not None and unit.awaits_a_client:
        return Awaited()
    return Nobody() if discovery is None else _ask(home, lock_pids, timeout_s)


def _ask(home: Home, lock_pids: Sequence[int], timeout_s: float) -> Answer:
    if any(map(is_stopped, lock_pids)):
        return Silent("the daemon was stopped by a signal")  # to wait would be in vain
    try:
        return Serving(control.ask(home, "status", min(timeout_s, DOCTOR_ANSWER_S_MAX)))
    except DaemonUnavailable as error:
        if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
            return NotListening()
        return Silent(error.message)
    except LuludbError as error:
        return NotUnderstood(error.message)
