"""The loads that look at the daemon itself: what it takes when idle, and its memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import luludb_system
from scripts.bench.bench import Bench, Contender, check_rows
from scripts.bench.crowd import Crowd, gathered
from scripts.bench.figures import Bar, Comparison, LoadResult, Spread

IDLE_S = 60.0
SHORT_IDLE_S = 8.0
SETTLE_S = 5.0  # the checkpoint and the delayed work of a load are over by then
MESSAGES = 1_000_000
SHORT_MESSAGES = 30_000
PROCESSES = 4
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process has done so far.

    Attributes:
        switches: how often its threads went to sleep by themselves.
        processor_ms: time on a processor.
    """

    switches: int
    processor_ms: float


def idle(bench: Bench) -> LoadResult:
    """A daemon that was in use, with a client connected that asks for nothing."""
    seconds = SHORT_IDLE_S if bench.pace.is_short else IDLE_S
    result = LoadResult(
        key="idle",
        title="An idle daemon",
        how=f"A daemon that has written for a moment and has one client connected is watched for"
        f" {seconds:.0f} s, in which nobody asks for anything. Wake-ups are the voluntary context"
        " switches of all its threads.",
        durability="normal",
        processes=1,
    )
    if not PROC.is_dir():
        result.notes.append("Not measured: this system has no /proc.")
        return result
    with (
        bench.directory() as place,
        _crowd(bench, place, Contender("", "luludb"), 1) as (pid, crowd),
    ):
        crowd.run(warm_s=0.1, seconds=0.5)
        time.sleep(SETTLE_S)
        before = activity_of(pid)
        time.sleep(seconds)
        after = activity_of(pid)
    wakeups = (after.switches - before.switches) / seconds
    processor_ms = (after.processor_ms - before.processor_ms) * 60 / seconds
    result.comparisons += [
        Comparison("wake-ups", "wake-ups a second", _one(wakeups), Bar(1, is_upper=True), "/s"),
        Comparison(
            "processor time",
            "processor time in 60 s",
            _one(processor_ms),
            Bar(10, is_upper=True),
            "ms",
        ),
    ]
    return result


def memory(bench: Bench) -> LoadResult:
    """The daemon's resident memory while many messages go through it."""
    messages = SHORT_MESSAGES if bench.pace.is_short else MESSAGES
    result = LoadResult(
        key="memory",
        title=f"The daemon's memory over {messages:,} messages",
        how=f"{PROCESSES} processes append with 64 messages under way, until {messages:,} are"
        " acknowledged; the daemon's resident memory is read after every run.",
        durability="normal",
        processes=PROCESSES,
    )
    contender = Contender("luludb, window 64", "luludb", "window", 64)
    points: list[tuple[float, float]] = []
    if not PROC.is_dir():
        result.notes.append("Not measured: this system has no /proc.")
        return result
    with bench.directory() as place, _crowd(bench, place, contender, PROCESSES) as (pid, crowd):
        points.append((0.0, resident_mb(pid)))
        while points[-1][0] < messages:
            shares = crowd.run(warm_s=0.0, seconds=min(2.0, bench.pace.seconds))
            written = points[-1][0] + sum(share.acknowledged for share in shares)
            points.append((written, resident_mb(pid)))
        result.kept[contender.name] = check_rows(luludb_system, place / "home", crowd.journals())
    result.series["resident memory"] = points
    most = max(size for _, size in points)
    result.comparisons += [
        Comparison(
            "resident memory",
            "resident memory at most",
            _one(most),
            Bar(80, 50, is_upper=True),
            "MB",
        ),
        Comparison(
            "growth over the last half",
            "resident memory's growth over the last half",
            _one(growth_percent(points)),
            Bar(5, 1, is_upper=True),
            "%",
        ),
    ]
    return result


def growth_percent(points: list[tuple[float, float]]) -> float:
    """By how much the second quantity is greater, at most, in the second half than at its begin."""
    half = points[-1][0] / 2
    second = [size for written, size in points if written >= half]
    return (max(second) / second[0] - 1) * 100


def activity_of(pid: int) -> Activity:
    """What all threads of a process have done so far, from /proc."""
    switches = 0
    processor_ns = 0
    for task in (PROC / str(pid) / "task").iterdir():
        status = (task / "status").read_text(encoding="utf-8")
        switches += int(_field(status, "voluntary_ctxt_switches"))
        # In nanoseconds; the times in `stat` have steps of ten milliseconds.
        processor_ns += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return Activity(switches, processor_ns / 1e6)


def resident_mb(pid: int) -> float:
    """The resident memory of a process in millions of bytes, from /proc."""
    status = (PROC / str(pid) / "status").read_text(encoding="utf-8")
    return int(_field(status, "VmRSS").split()[0]) * 1024 / 1e6


def _field(status: str, name: str) -> str:
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise ValueError(f"/proc says nothing of {name}")


@contextlib.contextmanager
def _crowd(
    bench: Bench, place: Path, contender: Contender, processes: int
) -> Iterator[tuple[int, Crowd]]:
    """A daemon's pid and its clients."""
    home = place / "home"
    dealt = bench.deal(place, processes)
    with luludb_system.serving(home, "normal") as pid:
        assert pid is not None, "luludb has a daemon"
        with gathered(contender.assignments(home, "normal", dealt)) as crowd:
            yield pid, crowd


def _one(value: float) -> Spread:
    return Spread(value, value, value)
