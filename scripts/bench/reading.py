"""The load that reads while others write."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from scripts.bench import direct, luludb_system
from scripts.bench.bench import Bench, Contender, check_rows, print_run
from scripts.bench.crowd import Crowd, ended_at_last, gathered, moments_ahead
from scripts.bench.figures import Bar, Comparison, LoadResult, Run, ratios, run_of
from scripts.bench.fill import Filled, fill
from scripts.bench.reader import KINDS, reading
from scripts.bench.systems import system

PROCESSES = 16
MESSAGES = 100_000
SHORT_MESSAGES = 10_000
READER = "a reader beside {}"
BESIDE_LULUDB = READER.format("16 luludb writers")
BESIDE_ECHO = READER.format("16 echo clients")
BESIDE_DIRECT = READER.format("16 direct writers")


def reading_beside_writers(bench: Bench) -> LoadResult:
    """One reader without a pause, beside 16 busy processes of three kinds."""
    messages = SHORT_MESSAGES if bench.pace.is_short else MESSAGES
    result = LoadResult(
        key="reading",
        title="A reader beside 16 writers at full speed, normal",
        how=f"One process reads without a pause with luludb's client ({', '.join(KINDS)} in turn)"
        f" from a file of {messages:,} messages, while 16 processes write to the same file, through"
        " luludb or directly, each waiting for each answer. The yardstick is the same reader beside"
        " 16 clients of a bare pyzmq echo, which keep the processors busy and write nothing.",
        durability="normal",
        processes=PROCESSES,
    )
    with bench.directory() as place, contextlib.ExitStack() as stack:
        pairs = {
            name: stack.enter_context(_pair(bench, place, contender, messages))
            for name, contender in (
                (BESIDE_LULUDB, Contender("luludb", "luludb")),
                (BESIDE_ECHO, Contender("echo", "echo")),
                (BESIDE_DIRECT, Contender("direct", "direct")),
            )
        }
        for _ in range(bench.pace.pairs):
            for name, (reader, writers, _) in pairs.items():
                os.sync()
                for each, run in zip(
                    (name, name.removeprefix(READER.format(""))),
                    _run_together(bench, reader, writers),
                    strict=True,
                ):
                    result.runs.setdefault(each, []).append(run)
                    print_run(each, run)
        for name, (_, writers, home) in pairs.items():
            if name != BESIDE_ECHO:
                result.kept[name] = check_rows(
                    luludb_system if name == BESIDE_LULUDB else direct,
                    home,
                    writers.journals(),
                    before=messages,
                )
    _compare(result)
    return result


def _compare(result: LoadResult) -> None:
    for name, bar in (
        (BESIDE_LULUDB, Bar(3, 1.5, is_upper=True)),
        (BESIDE_DIRECT, None),
    ):
        result.comparisons.append(
            Comparison(
                f"p99 {name} / echo",
                f"p99 of {name} over the same beside 16 echo clients",
                ratios(result.runs, name, BESIDE_ECHO, lambda run: run.p99_ms),
                bar,
            )
        )


@contextlib.contextmanager
def _pair(
    bench: Bench, place: Path, contender: Contender, messages: int
) -> Iterator[tuple[Crowd, Crowd, Path]]:
    """A reader of a filled home and 16 writers beside it; those of an echo write elsewhere."""
    home = place / f"home-{contender.system}"
    dealt = bench.deal(place, PROCESSES)
    filled = fill(home, messages, dealt[0])
    with contextlib.ExitStack() as stack:
        directory = home
        if contender.system == "echo":
            directory = place / "echo"
            directory.mkdir()
        if contender.system != "direct":  # those write into the file as it was filled
            stack.enter_context(system(contender.system).serving(directory, "normal"))
        writers = stack.enter_context(gathered(contender.assignments(directory, "normal", dealt)))
        yield _reader(stack, home, filled), writers, home


def _reader(stack: contextlib.ExitStack, home: Path, filled: Filled) -> Crowd:
    reader = Crowd([reading(home, filled, *KINDS)])
    stack.enter_context(ended_at_last(reader))
    return reader


def _run_together(bench: Bench, reader: Crowd, writers: Crowd) -> tuple[Run, Run]:
    moments = moments_ahead(warm_s=bench.pace.warm_s, seconds=bench.pace.seconds)
    reader.let_go(moments)
    writers.let_go(moments)
    return run_of(reader.shares(moments)), run_of(writers.shares(moments))
