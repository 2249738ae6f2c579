"""The load that asks how soon a watcher has a change that a writer has acknowledged."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.bench import luludb_system
from scripts.bench.bench import Bench, Contender, RowsWrong, check_rows, print_run
from scripts.bench.crowd import Crowd, Moments, ended_at_last, gathered, moments_ahead
from scripts.bench.figures import Bar, Comparison, LoadResult, p50, ratios, run_of, spread_of
from scripts.bench.follower import following
from scripts.bench.share import Share

PAUSE_MS = 5
WRITERS = {
    f"a write every {PAUSE_MS} ms": Contender("", "luludb", "paced", PAUSE_MS),
    "writes without a pause": Contender("", "luludb"),
}
WATCHERS = {"Client.watch": "blocking", "AsyncClient.watch": "asyncio"}


@dataclass(frozen=True, slots=True)
class Delays:
    """How long after its acknowledgement each change was seen.

    Attributes:
        delays_ms: none below 0.
        ahead: how many were seen before their acknowledgement came; those count as 0.
    """

    delays_ms: array[float]
    ahead: int


def watch(bench: Bench) -> LoadResult:
    """One process writes, another one watches."""
    result = LoadResult(
        key="watch",
        title="From the acknowledgement to the watcher, normal",
        how="One process appends, a message at a time; another one iterates over `watch()`. A"
        " change's time is from the moment at which `append_message` returned in the writer to the"
        " moment at which the watcher's iterator gave it out, by the one clock of the machine; one"
        f" that was seen sooner counts as 0. The writer pauses for {PAUSE_MS} ms behind each write,"
        " or not at all. The yardstick is the p50 of the writes of the same run.",
        durability="normal",
        processes=1,
    )
    with bench.directory() as place, contextlib.ExitStack() as stack:
        home = place / "home"
        dealt = bench.deal(place, len(WRITERS))
        stack.enter_context(luludb_system.serving(home, "normal"))
        writers = {
            name: stack.enter_context(gathered(contender.assignments(home, "normal", [path])))
            for (name, contender), path in zip(WRITERS.items(), dealt, strict=True)
        }
        watchers = {}
        for name, kind in WATCHERS.items():
            watchers[name] = Crowd([following(home, kind)])
            stack.enter_context(ended_at_last(watchers[name]))
        ahead: dict[str, list[float]] = {}
        for _ in range(bench.pace.pairs):
            for watcher, watching in watchers.items():
                for writer, writing in writers.items():
                    share = _run(bench, result, f"{watcher}, {writer}", watching, writing)
                    ahead.setdefault(f"{watcher}, {writer}", []).append(share)
        journals = [journal for crowd in writers.values() for journal in crowd.journals()]
        result.kept["luludb"] = check_rows(luludb_system, home, journals)
    for name, shares in ahead.items():
        _compare(result, name)
        result.notes.append(
            f"{name}: {spread_of(shares).median:.1%} of the changes were seen before their"
            " acknowledgement."
        )
    return result


def delays_of(acknowledged: Mapping[str, int], seen: Mapping[str, int], moments: Moments) -> Delays:
    """The delays of what was acknowledged in the counted part of a run.

    Args:
        acknowledged: when each message's call returned.
        seen: when each message's change came.
        moments: of the run.

    Raises:
        RowsWrong: a message was acknowledged and its change never came.
    """
    delays_ms = array("d")
    ahead = 0
    for id, ended_ns in acknowledged.items():
        if moments.from_ns <= ended_ns <= moments.end_ns:
            if id not in seen:
                raise RowsWrong(f"message {id} was acknowledged, and no watcher saw its change")
            delay_ns = seen[id] - ended_ns
            ahead += delay_ns < 0
            delays_ms.append(max(0, delay_ns) / 1e6)
    return Delays(delays_ms, ahead)


def _run(bench: Bench, result: LoadResult, name: str, watching: Crowd, writing: Crowd) -> float:
    """One run; returns the share of the changes that came before their acknowledgement."""
    os.sync()
    moments = moments_ahead(warm_s=bench.pace.warm_s, seconds=bench.pace.seconds)
    watching.let_go(moments)
    writing.let_go(moments)
    written = writing.shares(moments)
    watching.shares(moments)
    (acknowledged,), (seen,) = writing.ask("ends"), watching.ask("seen")
    delays = delays_of(acknowledged, seen, moments)
    watched = Share(len(delays.delays_ms), bench.pace.seconds, delays.delays_ms, {})
    for each, run in ((name, run_of([watched])), (_writer_of(name), run_of(written))):
        result.runs.setdefault(each, []).append(run)
        print_run(each, run)
    return delays.ahead / max(1, len(delays.delays_ms))


def _writer_of(name: str) -> str:
    return f"the writer of {name}"


def _compare(result: LoadResult, name: str) -> None:
    under = _writer_of(name)
    result.comparisons += [
        Comparison(
            f"p50 {name} / write",
            f"p50 of {name}, over that of the write",
            ratios(result.runs, name, under, p50),
            Bar(2, is_upper=True),
        ),
        Comparison(
            f"p99 {name} / write",
            f"p99 of {name}, over the p50 of the write",
            spread_of(
                own.p99_ms / write.p50_ms
                for own, write in zip(result.runs[name], result.runs[under], strict=True)
            ),
        ),
    ]
