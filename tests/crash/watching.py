"""Watchers of the change feed while writers write, the daemon is killed, and watchers are stopped.

Each writer and each watcher is a process of its own. What a watcher was given is held against
`lulu_changes` when all is over.
"""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luludb_client.testing import Daemon, running_daemon
from scripts.load.conversations import fixed_size_conversations
from scripts.load.crowd import deal, pace_of, run_crowd
from scripts.load.verify import Verdict, verify
from scripts.load.writer import Assignment
from tests.crash.audience import Audience
from tests.crash.progress import Tell, tell_nobody
from tests.crash.watch_checks import Span, deviations, deviations_of_feed, longest_lag_s
from tests.crash.watchers import Row, newest_rev
from tests.databases import query

MESSAGE_BYTES = 64
CALL_TIMEOUT_S = 60.0
LOAD_S_MAX = 1800.0
BUSY_WINDOW = 4  # one for each of the conversations that a writer has open: a notice each
FIRST_SHARE = 0.02  # of the changes: then there are sessions to choose from
LAST_SHARE = 0.9
STOPS_SHARE = 0.7  # of the time between: later ones would be over before they are long
ROWS = "SELECT rev, op, session_id, message_id FROM lulu_changes ORDER BY rev"
TIMES = "SELECT rev, at FROM lulu_changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What became of the watchers of one run.

    Attributes:
        changes: in the feed.
        given: to all watchers together.
        kills: of the daemon.
        stops: of watchers, which went on later.
        missed: the most changes that a watcher was to see and that were committed in one stop.
        deaths: of watchers, which were begun anew behind the last change they had written down.
        load_s: in which the writers wrote.
        lag_s_max: from a change to a watcher that was given it, the longest; without the time in
            which the daemon was away, or the watcher stopped or not there.
        verdict: on the writers' rows.
        findings: each deviation from what was to be given; empty is good.
    """

    seed: int
    changes: int
    given: int
    kills: int
    stops: int
    missed: int
    deaths: int
    load_s: float
    lag_s_max: float
    verdict: Verdict
    findings: list[str]

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.changes} changes in {self.load_s:.1f} s, given to watchers"
            f" {self.given} times; {self.kills} kills, {self.stops} stops of watchers (the longest"
            f" of {self.missed} changes), {self.deaths} deaths; the longest lag"
            f" {self.lag_s_max:.2f} s; {self.verdict}; findings: {self.findings or 'none'}"
        )


def watch_under_kills(
    changes: int,
    *,
    writers: int,
    watchers: int,
    kills: int,
    stops: int = 0,
    deaths: int = 0,
    seed: int,
    tell: Tell = tell_nobody,
) -> Watched:
    """Watch while `changes` are written, and hold what was given against what there is.

    Args:
        changes: at the least; the sessions are some more.
        writers: an eighth of them, and one at the least, has several commands under way.
        watchers: of the sorts in `watchers.ROLES`, in turn.
        kills: of the daemon, spread over the changes.
        stops: of watchers.
        deaths: of watchers.
        seed: of the moments, the sessions and the revs.
        tell: told how far it is.
    """
    with tempfile.TemporaryDirectory(prefix="lulu-watch-") as name, ExitStack() as stack:
        directory = Path(name)
        daemon = stack.enter_context(running_daemon(directory / "home"))
        chance = random.Random(seed)
        audience = stack.enter_context(Audience(daemon.home, directory, watchers, chance))
        audience.begin_early()
        assignments = _assignments(daemon.home, directory, changes, writers)
        happening = _Happening(daemon, audience, changes, chance, tell)
        happening.plan(kills=kills, stops=stops, deaths=deaths)
        journals = run_crowd(assignments, happening.tick)
        happening.finish()
        late = audience.wait_until_caught_up()
        notes = audience.end()
        daemon.stop()
        # What is checked is what a daemon that has stopped left behind.
        database = daemon.home / "lulu.db"
        verdict = verify(database, journals)
        rows: list[Row] = query(database, ROWS)
        at_s = {rev: datetime.fromisoformat(at).timestamp() for rev, at in query(database, TIMES)}
        findings = late if verdict.is_good else [*late, f"writers: {verdict}"]
        findings += deviations_of_feed(database, rows, changes)
        for number, (watcher, own) in enumerate(zip(audience.watchers, notes, strict=True)):
            found = deviations(own, watcher.order.session_id, rows)
            findings += [f"watcher {number}, {watcher.order}: {each}" for each in found]
        lag_s_max = max(
            longest_lag_s(own, at_s, [*happening.outages_s, *watcher.absences_s(own)])
            for watcher, own in zip(audience.watchers, notes, strict=True)
        )
    return Watched(
        seed=seed,
        changes=len(rows),
        given=sum(len(own.given) for own in notes),
        kills=len(happening.outages_s),
        stops=len(audience.missed),
        missed=max(audience.missed, default=0),
        deaths=sum(len(own.begun_s) - 1 for own in notes),
        load_s=pace_of(journals).seconds,
        lag_s_max=lag_s_max,
        verdict=verdict,
        findings=findings,
    )


class _Happening:
    """What happens at which rev.

    Attributes:
        outages_s: from when to when the daemon was away.
    """

    def __init__(
        self, daemon: Daemon, audience: Audience, changes: int, chance: random.Random, tell: Tell
    ) -> None:
        self.outages_s: list[Span] = []
        self._daemon = daemon
        self._audience = audience
        self._changes = changes
        self._chance = chance
        self._tell = tell
        self._planned: list[tuple[float, int]] = []
        self._events = (self._kill_daemon, audience.stop_one, audience.kill_one)

    def plan(self, *, kills: int, stops: int, deaths: int) -> None:
        """Spread the kills over all changes; the others come when they come."""
        span = (LAST_SHARE - FIRST_SHARE) * self._changes
        shares = [(number + self._chance.random()) / kills for number in range(kills)]
        self._planned = [(share, 0) for share in shares]
        self._planned += [(self._chance.uniform(0, STOPS_SHARE), 1) for _ in range(stops)]
        self._planned += [(self._chance.random(), 2) for _ in range(deaths)]
        first = FIRST_SHARE * self._changes
        self._planned = sorted((first + share * span, event) for share, event in self._planned)

    def tick(self) -> None:
        """Do what is due at the newest rev; only one thing, so that some time lies between."""
        newest = newest_rev(self._daemon.home)
        self._audience.go_on_where_due()
        if newest >= FIRST_SHARE * self._changes:
            self._audience.begin_late(newest)
        if self._planned and newest >= self._planned[0][0]:
            _, event = self._planned[0]
            if self._events[event]():
                self._planned.pop(0)
        self._tell(f"rev {newest}, {len(self.outages_s)} kills")

    def finish(self) -> None:
        """Do what is left, and let every watcher go on."""
        self._audience.go_on()
        while self._planned:
            self.tick()
            self._audience.go_on()

    def _kill_daemon(self) -> bool:
        gone_s = time.time()
        self._daemon.kill()
        self._daemon.start()
        self.outages_s.append((gone_s, time.time()))
        return True


def _assignments(home: Path, directory: Path, changes: int, writers: int) -> list[Assignment]:
    busy = max(1, writers // 8)
    shares = [BUSY_WINDOW if index < busy else 1 for index in range(writers)]
    messages = [-(-changes * share // sum(shares)) for share in shares]
    # Long ones, so that there is much to see in one session.
    conversations = fixed_size_conversations(MESSAGE_BYTES, turns=max(messages))
    return [
        Assignment(
            home=str(home),
            database=str(home / "lulu.db"),
            conversations=str(path),
            journal=str(directory / f"{index}.journal"),
            messages=messages[index],
            seconds=LOAD_S_MAX,
            window=shares[index],
            durability="normal",
            timeout_s=CALL_TIMEOUT_S,
        )
        for index, path in enumerate(deal(conversations, directory, writers))
    ]
