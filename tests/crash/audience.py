"""The watchers of one run: begun, stopped, killed, and waited for."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from tests.crash.chaos import ROOT, wait_for_bytes
from tests.crash.watchers import (
    A_REV,
    NOW,
    OLDEST,
    ROLES,
    Notes,
    Order,
    Role,
    newest_rev,
    read_notes,
    read_rows,
)

CATCH_UP_S_MAX = 60.0
LOOK_PAUSE_S = 0.1
SAID_CHARACTERS_MAX = 2000
TAIL_BYTES = 4096
# The daemon's queue of notices for one subscriber holds 512, and its socket some hundreds more.
STOPPED_CHANGES_MIN = 700
STOPPED_CHANGES_MAX_OF_ALL = 10_000
STOPPED_CHANGES_MAX_OF_ONE = 1_500
BUSIEST = (
    "SELECT session_id FROM lulu_changes GROUP BY session_id ORDER BY count(*) DESC, 1 LIMIT 8"
)


class WatcherFailed(RuntimeError):
    """Is raised where a watcher ended by itself."""


@dataclass(slots=True)
class Stop:
    """Since when a watcher is stopped, and how many changes it is to miss."""

    since_s: float
    rev: int
    changes: int


@dataclass(slots=True)
class Watcher:
    """One watcher, through all its processes."""

    order: Order
    process: subprocess.Popen[bytes]
    stop: Stop | None = None
    stopped_s: list[tuple[float, float]] = field(default_factory=list)
    killed_s: list[float] = field(default_factory=list)

    @property
    def notes(self) -> Path:
        return Path(self.order.notes)

    def absences_s(self, notes: Notes) -> list[tuple[float, float]]:
        """When it was stopped or not there."""
        return [*self.stopped_s, *zip(self.killed_s, notes.begun_s[1:], strict=True)]

    def is_watching(self) -> bool:
        """Whether its process runs and has written down that it watches."""
        if self.stop is not None or not self.notes.exists():
            return False
        with self.notes.open("rb") as file:
            return sum(line.startswith(b"b ") for line in file) > len(self.killed_s)

    def last_given(self) -> int:
        """The rev of the last change that it wrote down; 0 before the first."""
        if not self.notes.exists():
            return 0
        with self.notes.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().decode().splitlines(keepends=True)
        revs = [line.split()[1] for line in lines if line.startswith("c ") and line.endswith("\n")]
        return int(revs[-1]) if revs else 0

    def check_is_there(self) -> None:
        if self.process.poll() is not None:
            said = self.notes.with_suffix(".errors").read_text(encoding="utf-8", errors="replace")
            raise WatcherFailed(
                f"{self.order} ended with {self.process.returncode}: {said[-SAID_CHARACTERS_MAX:]}"
            )


class Audience:
    """All watchers of a run; none is left at the end of the `with`.

    Attributes:
        watchers: those that were begun.
        missed: for each stop, how many changes were committed in it that the watcher was to see.
    """

    def __init__(self, home: Path, directory: Path, count: int, chance: random.Random) -> None:
        self.watchers: list[Watcher] = []
        self.missed: list[int] = []
        self._home = home
        self._directory = directory
        self._chance = chance
        roles = [ROLES[number % len(ROLES)] for number in range(count)]
        self._early = [role for role in roles if role.is_early]
        self._late = [role for role in roles if not role.is_early]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for watcher in self.watchers:
            watcher.process.kill()
        self._stack.close()

    def begin_early(self) -> None:
        """Begin those that are there before the first change, and wait until they watch."""
        for role in self._early:
            self._begin(role, None, 0)
        for watcher in self.watchers:
            wait_for_bytes(watcher.notes, 1)

    def begin_late(self, newest: int) -> None:
        """Begin the others, with sessions that there are."""
        if self._late:
            sessions = [id for (id,) in read_rows(self._home, BUSIEST)]
            for role in self._late:
                session_id = None if role.is_of_all else self._chance.choice(sessions)
                self._begin(role, session_id, newest)
            self._late = []

    def stop_one(self) -> bool:
        """SIGSTOP to one that watches. Returns whether there was one."""
        watcher = self._any_that_watches()
        if watcher is not None:
            is_of_all = watcher.order.session_id is None
            most = STOPPED_CHANGES_MAX_OF_ALL if is_of_all else STOPPED_CHANGES_MAX_OF_ONE
            changes = self._chance.randint(STOPPED_CHANGES_MIN, most)
            watcher.process.send_signal(signal.SIGSTOP)
            watcher.stop = Stop(time.time(), newest_rev(self._home), changes)
        return watcher is not None

    def kill_one(self) -> bool:
        """SIGKILL to one that watches; it is begun anew, behind the last change in its notes."""
        watcher = self._any_that_watches()
        if watcher is not None:
            watcher.killed_s.append(time.time())
            watcher.process.kill()
            watcher.process.wait()
            watcher.process = self._started(watcher.order)
        return watcher is not None

    def go_on_where_due(self) -> None:
        """SIGCONT to those that have missed as many changes as they were to miss."""
        for watcher in self.watchers:
            watcher.check_is_there()
            if watcher.stop is not None:
                missed = self._missed_by(watcher, watcher.stop)
                if missed >= watcher.stop.changes:
                    self._go_on(watcher, watcher.stop, missed)

    def go_on(self) -> None:
        """SIGCONT to all that are stopped."""
        for watcher in self.watchers:
            if watcher.stop is not None:
                self._go_on(watcher, watcher.stop, self._missed_by(watcher, watcher.stop))

    def wait_until_caught_up(self) -> list[str]:
        """Wait until each watches and was given the last change that there is for it.

        Returns:
            Who did not get there in time.

        Raises:
            WatcherFailed: one ended.
        """
        until_s = time.monotonic() + CATCH_UP_S_MAX
        late = []
        for watcher in self.watchers:
            _, wanted = self._revs_of(watcher.order.session_id)
            while watcher.last_given() < wanted or not watcher.is_watching():
                watcher.check_is_there()
                if time.monotonic() >= until_s:
                    last = watcher.last_given()
                    late.append(f"{watcher.order} came to rev {last} in time, not to {wanted}")
                    break
                time.sleep(LOOK_PAUSE_S)
        return late

    def end(self) -> list[Notes]:
        """End them. Returns what each wrote down.

        Raises:
            WatcherFailed: one had ended already.
        """
        for watcher in self.watchers:
            watcher.check_is_there()
            watcher.process.kill()
            watcher.process.wait()
        return [read_notes(watcher.notes) for watcher in self.watchers]

    def _begin(self, role: Role, session_id: str | None, newest: int) -> None:
        after_rev = {OLDEST: 0, NOW: None, A_REV: self._chance.randint(1, max(1, newest))}
        order = Order(
            home=str(self._home),
            notes=str(self._directory / f"{len(self.watchers)}.notes"),
            kind=role.kind,
            session_id=session_id,
            after_rev=after_rev[role.begins],
        )
        self.watchers.append(Watcher(order, self._started(order)))

    def _started(self, order: Order) -> subprocess.Popen[bytes]:
        with Path(order.notes).with_suffix(".errors").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.watchers", json.dumps(asdict(order))],
                stdin=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                process_group=0,  # Ctrl-C is the run's; the watchers are ended from here
            )
        return self._stack.enter_context(process)

    def _any_that_watches(self) -> Watcher | None:
        watching = [watcher for watcher in self.watchers if watcher.is_watching()]
        return self._chance.choice(watching) if watching else None

    def _go_on(self, watcher: Watcher, stop: Stop, missed: int) -> None:
        watcher.process.send_signal(signal.SIGCONT)
        watcher.stopped_s.append((stop.since_s, time.time()))
        watcher.stop = None
        self.missed.append(missed)

    def _missed_by(self, watcher: Watcher, stop: Stop) -> int:
        return self._revs_of(watcher.order.session_id, above=stop.rev)[0]

    def _revs_of(self, session_id: str | None, *, above: int = 0) -> tuple[int, int]:
        """How many changes of a session, or of all, there are above a rev, and the last one's."""
        if session_id is None:
            newest = newest_rev(self._home)
            return newest - above, newest
        sql = "SELECT count(*), max(rev) FROM lulu_changes WHERE rev > ? AND session_id = ?"
        count, last = read_rows(self._home, sql, above, session_id)[0]
        return count, last or 0
