"""The load that asks what a large file costs: the same writes and reads, small file and large."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import luludb_system
from scripts.bench.bench import Bench, Contender, check_rows, print_run
from scripts.bench.crowd import Crowd, ended_at_last, gathered
from scripts.bench.figures import (
    Bar,
    Comparison,
    LoadResult,
    p50,
    rate,
    ratios,
    run_of,
    spread_of,
)
from scripts.bench.fill import Filled, fill
from scripts.bench.reader import KINDS, READ_MAX, reading

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
SHORT_SIZES = (10_000, 100_000)
WRITERS = Contender("luludb, window 64", "luludb", "window", 64)
PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Grown:
    """A home of one size under a daemon, with its writers and a reader for each kind of read."""

    home: Path
    filled: Filled
    writers: Crowd
    readers: dict[str, Crowd]


def growth(bench: Bench) -> LoadResult:
    """Appends and reads in files of several sizes."""
    sizes = SHORT_SIZES if bench.pace.is_short else SIZES
    result = LoadResult(
        key="growth",
        title=f"{sizes[-1]:,} messages in the file against {sizes[0]:,}",
        how=f"Homes of {', '.join(f'{size:,}' for size in sizes)} messages in sessions of 100, the"
        f" larger ones with as many changes as luludb keeps. In each {PROCESSES} processes append"
        " with 64 messages under way; then, in the same round and without writers, one process"
        f" reads: `list_messages(last={READ_MAX})`, `get_message` and"
        f" `list_sessions(limit={READ_MAX})` on sessions and messages from all over the file.",
        durability="normal",
        processes=PROCESSES,
    )
    with bench.directory() as place, contextlib.ExitStack() as stack:
        homes = [stack.enter_context(_grown(bench, place, size)) for size in sizes]
        for _ in range(bench.pace.pairs):
            for home in homes:
                _run(bench, result, home)
        for home in homes:
            result.kept[_name(home, "append")] = check_rows(
                luludb_system, home.home, home.writers.journals(), before=home.filled.messages
            )
    _compare(result, homes)
    return result


@contextlib.contextmanager
def _grown(bench: Bench, place: Path, size: int) -> Iterator[Grown]:
    home = place / f"home-{size}"
    dealt = bench.deal(place, PROCESSES)
    print(f"    filling a home with {size} messages", flush=True)
    filled = fill(home, size, dealt[0])
    with contextlib.ExitStack() as stack:
        stack.enter_context(luludb_system.serving(home, "normal"))
        writers = stack.enter_context(gathered(WRITERS.assignments(home, "normal", dealt)))
        readers = {}
        for kind in KINDS:
            readers[kind] = Crowd([reading(home, filled, kind)])
            stack.enter_context(ended_at_last(readers[kind]))
        yield Grown(home, filled, writers, readers)


def _run(bench: Bench, result: LoadResult, home: Grown) -> None:
    """One run of the writers and one of each reader."""
    for kind, crowd in (("append", home.writers), *home.readers.items()):
        os.sync()
        seconds = bench.pace.seconds if kind == "append" else min(bench.pace.seconds, 1.0)
        run = run_of(crowd.run(warm_s=bench.pace.warm_s, seconds=seconds))
        result.runs.setdefault(_name(home, kind), []).append(run)
        print_run(_name(home, kind), run)


def _name(home: Grown, kind: str) -> str:
    return f"{kind}, {home.filled.messages:,} messages"


def _compare(result: LoadResult, homes: list[Grown]) -> None:
    small, large = homes[0], homes[-1]
    names = _name(large, "append"), _name(small, "append")
    result.comparisons.append(
        Comparison(
            "append rate, large / small",
            "rate of appends in the largest file against the smallest",
            ratios(result.runs, *names, rate),
            Bar(0.85, 0.95),
        )
    )
    for kind in KINDS:
        names = _name(large, kind), _name(small, kind)
        result.comparisons.append(
            Comparison(
                f"p50 {kind}, large / small",
                f"p50 of {kind} in the largest file over the smallest",
                ratios(result.runs, *names, p50),
                Bar(1.5, 1.1, is_upper=True),
            )
        )
    for kind in ("append", *KINDS):
        figure = rate if kind == "append" else p50
        result.series[kind] = [
            (
                float(home.filled.messages),
                spread_of(map(figure, result.runs[_name(home, kind)])).median,
            )
            for home in homes
        ]
