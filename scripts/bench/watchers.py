"""The load that asks what watchers cost those who write."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from luludb_client import Client
from scripts.bench import luludb_system
from scripts.bench.bench import Bench, Contender, check_rows, print_run
from scripts.bench.crowd import Crowd, ended_at_last, gathered, moments_ahead
from scripts.bench.figures import Bar, Comparison, LoadResult, rate, ratios, run_of, spread_of
from scripts.bench.follower import following
from scripts.bench.notices import notice_step_us
from scripts.bench.resources import PROC, Activity, activity_of

PROCESSES = 16
WATCHERS = 8
ALONE = f"{PROCESSES} writers, no watcher"
WATCHED = f"{PROCESSES} writers, {WATCHERS} watchers"
CONTROL = f"{PROCESSES} writers, {WATCHERS} that burn as much"


@dataclass(frozen=True, slots=True)
class Taken:
    """What one process took in the counted part of a run.

    Attributes:
        share: of one processor.
        wakeups_per_s: how often it went to sleep, and so woke up.
    """

    share: float
    wakeups_per_s: float


def watchers(bench: Bench) -> LoadResult:
    """Writers without watchers, with some, and beside processes that take the same time."""
    result = LoadResult(
        key="watchers",
        title=f"{PROCESSES} writers and {WATCHERS} watchers, normal",
        how=f"{PROCESSES} processes append one message at a time and wait until it is kept: alone;"
        f" with {WATCHERS} processes beside them that iterate over `Client.watch()` of all"
        " sessions;"
        f" and with {WATCHERS} processes that burn as much processor time as each of those took in"
        " the run before, woken as often, and have nothing to do with luludb. What the watchers"
        " cost the writers, their own processor time aside, is the rate with them over the last"
        " one. Processor time and wake-ups are read from /proc.",
        durability="normal",
        processes=PROCESSES,
    )
    if not PROC.is_dir():
        result.notes.append("Not measured: this system has no /proc.")
        return result
    with bench.directory() as place, contextlib.ExitStack() as stack:
        home = place / "home"
        pid = stack.enter_context(luludb_system.serving(home, "normal"))
        assert pid is not None, "luludb has a daemon"
        writers = stack.enter_context(
            gathered(
                Contender("", "luludb").assignments(home, "normal", bench.deal(place, PROCESSES))
            )
        )
        watching = Crowd([following(home, "blocking")] * WATCHERS)
        stack.enter_context(ended_at_last(watching))
        burning = Crowd([("scripts.bench.burner", "")] * WATCHERS)
        stack.enter_context(ended_at_last(burning))
        client = stack.enter_context(Client(home))
        daemon_us: list[float] = []
        turn_us: list[float] = []
        taken: dict[str, list[Taken]] = {WATCHED: [], CONTROL: []}
        for _ in range(bench.pace.pairs):
            turns = int(client.status()["batches_total"])
            (daemon,) = _run(bench, result, ALONE, writers, None, [pid])
            turns = int(client.status()["batches_total"]) - turns
            seconds = bench.pace.warm_s + bench.pace.seconds
            daemon_us.append(daemon.share / result.runs[ALONE][-1].rate_per_s * 1e6)
            turn_us.append(daemon.share * seconds / turns * 1e6)
            own = _run(bench, result, WATCHED, writers, watching, watching.pids)
            burning.ask(*(f"burn {each.share} {each.wakeups_per_s}" for each in own))
            taken[WATCHED] += own
            taken[CONTROL] += _run(bench, result, CONTROL, writers, burning, burning.pids)
        result.kept["luludb"] = check_rows(luludb_system, home, writers.journals())
        _compare(result)
        _compare_without(result, daemon_us, turn_us, notice_step_us(place))
    result.notes += [_taken_text(name, each) for name, each in taken.items()]
    return result


def _run(
    bench: Bench,
    result: LoadResult,
    name: str,
    writers: Crowd,
    beside: Crowd | None,
    pids: Sequence[int],
) -> list[Taken]:
    """One run of the writers; returns what the processes `pids` took meanwhile."""
    os.sync()
    moments = moments_ahead(warm_s=bench.pace.warm_s, seconds=bench.pace.seconds)
    if beside is not None:
        beside.let_go(moments)
    writers.let_go(moments)
    before = _activities_at(moments.from_ns, pids)
    after = _activities_at(moments.end_ns, pids)
    run = run_of(writers.shares(moments))
    if beside is not None:
        beside.shares(moments)
    result.runs.setdefault(name, []).append(run)
    print_run(name, run)
    return [taken_between(*pair, bench.pace.seconds) for pair in zip(before, after, strict=True)]


def taken_between(before: Activity, after: Activity, seconds: float) -> Taken:
    """What a process took between two looks at it, `seconds` apart."""
    return Taken(
        share=(after.processor_ms - before.processor_ms) / 1000 / seconds,
        wakeups_per_s=(after.switches - before.switches) / seconds,
    )


def _activities_at(moment_ns: int, pids: Sequence[int]) -> list[Activity]:
    time.sleep(max(0, moment_ns - time.perf_counter_ns()) / 1e9)
    return [activity_of(pid) for pid in pids]


def _compare(result: LoadResult) -> None:
    for over, under, bar in (
        (WATCHED, CONTROL, Bar(0.9)),
        (WATCHED, ALONE, None),
        (CONTROL, ALONE, None),
    ):
        result.comparisons.append(
            Comparison(
                f"rate {over} / {under}",
                f"rate of {over}, against {under}",
                ratios(result.runs, over, under, rate),
                bar,
            )
        )


def _compare_without(
    result: LoadResult, daemon_us: list[float], turn_us: list[float], step_us: float
) -> None:
    """What the feed costs where nobody watches."""
    result.comparisons += [
        Comparison(
            "daemon's time a command",
            "the daemon's processor time for a command, no watcher",
            spread_of(daemon_us),
            unit="µs",
        ),
        Comparison(
            "daemon's time a turn",
            "the daemon's processor time for a turn, no watcher",
            spread_of(turn_us),
            unit="µs",
        ),
        Comparison(
            "notice step",
            "the notices' part of a turn, no watcher",
            spread_of([step_us]),
            unit="µs",
        ),
        Comparison(
            "notice step / turn",
            "the notices' part of the daemon's time, no watcher",
            spread_of(step_us / each * 100 for each in turn_us),
            Bar(1, is_upper=True),
            "%",
        ),
    ]


def _taken_text(name: str, taken: Sequence[Taken]) -> str:
    share = spread_of(each.share for each in taken)
    wakeups = spread_of(each.wakeups_per_s for each in taken)
    return (
        f"{name}: each of the {WATCHERS} took {share.median:.1%} of a processor"
        f" ({share.least:.1%}..{share.greatest:.1%}) and woke up {wakeups.median:,.0f} times a"
        " second."
    )
