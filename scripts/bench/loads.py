"""The loads that write: many processes, blocking, pipelined and in transactions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from scripts.bench.bench import Bench, Contender
from scripts.bench.figures import Bar, Comparison, LoadResult, p50, rate, ratios, spread_of, worst
from scripts.bench.growth import growth
from scripts.bench.importing import importing
from scripts.bench.reading import reading_beside_writers
from scripts.bench.resources import idle, memory
from scripts.bench.tasks import tasks
from scripts.bench.watchers import watchers
from scripts.bench.watching import watch

WINDOW = 64
TOGETHER = 100
LULUDB = Contender("luludb", "luludb")
DIRECT = Contender("direct", "direct")
POSTGRESQL = Contender("PostgreSQL", "PostgreSQL")
SQLITE_RX = Contender("sqlite_rx", "sqlite_rx")
ECHO = Contender("echo", "echo")
DIRECT_TOGETHER = Contender("direct, transactions of 64", "direct", "together", WINDOW)
PIPELINED = Contender("luludb, window 64", "luludb", "window", WINDOW)
IN_TRANSACTIONS = Contender("luludb, transactions of 100", "luludb", "together", TOGETHER)
LIMIT = Contender("limit", "limit", "endless", 1000, processes=1)
RATE_BARS = {
    ("full", 16): {"direct": Bar(3, 4), "PostgreSQL": Bar(1.5, 2.5), "sqlite_rx": Bar(5, 8)},
    ("full", 64): {"direct": Bar(3, 5), "PostgreSQL": Bar(2, 3)},
    ("normal", 16): {"direct": Bar(0.8, 1.1), "PostgreSQL": Bar(1.2, 1.6)},
    ("normal", 64): {"direct": Bar(1.0, 1.5), "PostgreSQL": Bar(1.5, 3)},
}
MANY = 64
SWEPT = (1, 2, 4, 8, 32)
"""Beside the 16 and 64 that have loads of their own."""
# How a rival can be ahead, for the report; said only where the run shows it.
WHY = {
    ("direct", "full"): "A direct write waits for the disk as luludb's does, without the way to"
    " another process; luludb gains only as far as its commits hold many messages.",
    ("direct", "normal"): "At this level no side waits for the disk with each message. A direct"
    " write is a few system calls in its own process, where luludb's message goes to the daemon"
    " and back, and the daemon is one thread.",
    ("limit", "normal"): "The limit only inserts. The daemon also receives, decodes and checks each"
    " command, keeps its reply and sends it, while its clients use the same processors.",
    ("PostgreSQL", "full"): "PostgreSQL too lets one sync of its log serve several commits, and"
    " its work is done by a process for each client, in C.",
    ("PostgreSQL", "normal"): "PostgreSQL does the work of each client in a process of its own, in"
    " C, where luludb's daemon is one thread of Python.",
}


def blocking(bench: Bench, *, processes: int, durability: str) -> LoadResult:
    """Each process waits for each answer."""
    result = LoadResult(
        key=f"blocking-{processes}-{durability}",
        title=f"{processes} processes, blocking, {durability}",
        how=f"Each of {processes} processes appends one message at a time and waits until it is"
        " kept.",
        durability=durability,
        processes=processes,
    )
    contenders = [LULUDB, DIRECT, POSTGRESQL, *([SQLITE_RX] if processes < MANY else [])]
    bench.contest(result, contenders)
    bars = RATE_BARS.get((durability, processes), {})
    for rival in [each.name for each in contenders[1:]]:
        compare_rates(result, LULUDB.name, rival, bars.get(rival))
    if processes == MANY:
        _compare_tails(result)
    return result


def compare_rates(result: LoadResult, name: str, rival: str, bar: Bar | None) -> None:
    """Note how the rates of two contenders stand, where both ran."""
    if name in result.runs and rival in result.runs:
        result.comparisons.append(
            Comparison(
                f"rate {name} / {rival}",
                f"rate of {name} against {rival}",
                ratios(result.runs, name, rival, rate),
                bar,
                why=WHY.get((rival, result.durability), ""),
            )
        )


def _compare_tails(result: LoadResult) -> None:
    if DIRECT.name in result.runs:
        result.comparisons.append(
            Comparison(
                "worst direct / luludb",
                "worst latency (p99.9) of direct over luludb's",
                ratios(result.runs, DIRECT.name, LULUDB.name, worst),
                Bar(20, 50),
            )
        )
    for name, runs in result.runs.items():
        result.comparisons.append(
            Comparison(
                f"fairness {name}",
                f"fairness of {name}: the slowest process's rate over the fastest's",
                spread_of(run.fairness for run in runs),
                Bar(0.7, 0.9) if name == LULUDB.name else None,
            )
        )


def window(bench: Bench, *, durability: str) -> LoadResult:
    """Messages on their way without waiting, against plain SQLite alone and in batches."""
    result = LoadResult(
        key=f"window-16-{durability}",
        title=f"16 processes, {WINDOW} messages under way each, {durability}",
        how=f"Each of 16 processes keeps {WINDOW} futures of luludb's `submit` open. Plain SQLite"
        " has no such thing: it writes a message a transaction, and, where the program can wait"
        f" for {WINDOW} messages, {WINDOW} in one transaction.",
        durability=durability,
        processes=16,
    )
    bench.contest(result, [PIPELINED, DIRECT, DIRECT_TOGETHER])
    bar = Bar(10, 15) if durability == "full" else Bar(2.5, 4)
    compare_rates(result, PIPELINED.name, DIRECT.name, bar)
    compare_rates(result, PIPELINED.name, DIRECT_TOGETHER.name, None)
    return result


def limit(bench: Bench) -> LoadResult:
    """How near few busy processes come to what SQLite itself can do."""
    result = LoadResult(
        key="limit-4",
        title="4 processes against the limit, normal",
        how="The limit is one process that puts all rows into one transaction. luludb takes them"
        f" from 4 processes, in transactions of {TOGETHER} appends and with {WINDOW} messages"
        " under way.",
        durability="normal",
        processes=4,
    )
    bench.contest(result, [IN_TRANSACTIONS, PIPELINED, LIMIT])
    compare_rates(result, IN_TRANSACTIONS.name, LIMIT.name, Bar(0.45, 0.6))
    compare_rates(result, PIPELINED.name, LIMIT.name, Bar(0.35, 0.5))
    return result


def alone(bench: Bench) -> LoadResult:
    """What one process pays for the way to the daemon."""
    result = LoadResult(
        key="alone",
        title="1 process, blocking, normal",
        how="One process alone appends a message at a time. The yardstick is a round trip to a"
        " bare pyzmq echo and a write of plain SQLite, one after the other.",
        durability="normal",
        processes=1,
    )
    bench.contest(result, [LULUDB, ECHO, DIRECT, POSTGRESQL, SQLITE_RX])
    triples = zip(*(result.runs[each.name] for each in (LULUDB, ECHO, DIRECT)), strict=True)
    result.comparisons.append(
        Comparison(
            "p50 luludb / (echo + direct)",
            "p50 of luludb over that of echo and direct together",
            spread_of(p50(own) / (p50(echo) + p50(write)) for own, echo, write in triples),
            Bar(1.4, 1.0, is_upper=True),
            why="Beside the way there and back, and the commit, the daemon decodes and checks the"
            " command, and writes its ledger and its change feed.",
        )
    )
    return result


def sweep(bench: Bench, *, durability: str) -> LoadResult:
    """The rate as more and more processes write, for the plot."""
    pace = replace(bench.pace, pairs=min(bench.pace.pairs, 3), seconds=min(bench.pace.seconds, 2.0))
    result = LoadResult(
        key=f"processes-{durability}",
        title=f"Rate against the number of processes, {durability}",
        how="Each process appends one message at a time and waits until it is kept;"
        f" {pace.pairs} runs of {pace.seconds:g} s each.",
        durability=durability,
    )
    for processes in SWEPT:
        print(f"  {processes} processes", flush=True)
        step = replace(result, processes=processes, runs={}, kept={})
        replace(bench, pace=pace).contest(step, [LULUDB, DIRECT, POSTGRESQL])
        for name, runs in step.runs.items():
            median = spread_of(run.rate_per_s for run in runs).median
            result.series.setdefault(name, []).append((float(processes), median))
            result.kept[name] = step.kept[name]
    return result


LOADS: dict[str, Callable[[Bench], LoadResult]] = {
    **{
        f"blocking-{processes}-{durability}": partial(
            blocking, processes=processes, durability=durability
        )
        for durability in ("full", "normal")
        for processes in (16, 64)
    },
    "window-16-full": partial(window, durability="full"),
    "window-16-normal": partial(window, durability="normal"),
    "limit-4": limit,
    "alone": alone,
    "watch": watch,
    "watchers": watchers,
    "tasks": tasks,
    "import": importing,
    "reading": reading_beside_writers,
    "growth": growth,
    "memory": memory,
    "idle": idle,
    "processes-full": partial(sweep, durability="full"),
    "processes-normal": partial(sweep, durability="normal"),
}
"""Every load by its key, in the order in which they run."""
SHORT_LOADS = [
    *("blocking-16-full", "blocking-16-normal", "window-16-full", "limit-4", "alone", "import"),
    *("watch", "watchers", "tasks", "reading", "growth", "memory", "idle"),
    *("blocking-64-full", "blocking-64-normal"),
]
"""Those of the short form; the ones that take longest to start come last."""
