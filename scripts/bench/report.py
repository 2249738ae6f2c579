"""The report: Markdown made from the figures alone."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.bench.bench import Pace
from scripts.bench.figures import (
    FALLS_SHORT,
    MEETS_AIM,
    Bar,
    Comparison,
    LoadResult,
    Run,
    Spread,
    spread_of,
)
from scripts.bench.machine import Place

MARKS = {MEETS_AIM: "✔ aim", FALLS_SHORT: "✘ falls short"}
BUSY_LOAD_A_CORE = 0.25


@dataclass(frozen=True, slots=True)
class Setting:
    """What a report says of one system."""

    version: str
    settings: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report says beside the figures.

    Attributes:
        data: what was written, in words.
        missing: systems that were not measured, and why.
        skipped: loads for which there was no time.
    """

    machine: Mapping[str, str]
    load_average: float
    place: Place
    pace: Pace
    data: str
    systems: Mapping[str, Setting]
    missing: Mapping[str, str]
    skipped: Sequence[str]


def render(facts: Facts, results: Sequence[LoadResult], images: Sequence[tuple[str, str]]) -> str:
    """The whole report.

    Args:
        facts: what is said beside the figures.
        results: of each load.
        images: file name and caption of each plot.
    """
    parts = [
        "# Benchmarks",
        _introduction(facts),
        "## In short",
        *_summary(results),
        *[f"![{caption}]({name})" for name, caption in images],
        *_behind(results),
        "## What was measured on",
        _table(("", ""), [*facts.machine.items(), *_place_rows(facts.place)]),
        *_warnings(facts),
        "## The systems",
        *_systems(facts),
        "## How it was measured",
        *_method(facts.pace),
        "## The loads",
        *[part for result in results for part in _load(result)],
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def line_of(comparison: Comparison) -> str:
    """One comparison as a line of the terminal."""
    text = f"{comparison.what}: {spread_text(comparison.value, comparison.unit)}"
    if comparison.bar is not None:
        text += f"  [{_bar_text(comparison)}]  {comparison.mark}"
    return text


def spread_text(spread: Spread, unit: str = "") -> str:
    """The median, and the bounds where there are any."""
    text = number_text(spread.median) + (f" {unit}" if unit else "")
    if spread.least == spread.greatest:
        return text
    return f"{text} ({number_text(spread.least)}..{number_text(spread.greatest)})"


def number_text(value: float) -> str:
    """A number with as many digits as it is good for: three, or all before the point."""
    if not math.isfinite(value):
        return "∞"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _introduction(facts: Facts) -> str:
    short = (
        " This is the short form: few and brief runs, for a look, not for a judgement."
        if facts.pace.is_short
        else ""
    )
    return (
        "luludb beside the ways in which processes keep such rows without it: each process writing"
        " the SQLite file itself, PostgreSQL, and sqlite_rx. All write the same rows into the same"
        " tables, and the rows are read back and checked afterwards. Written are"
        f" {facts.data}.{short}"
    )


def _summary(results: Sequence[LoadResult]) -> list[str]:
    rows = []
    marks = []
    for result in results:
        for each in result.comparisons:
            if each.bar is not None:
                marks.append(each.mark)
                value = spread_text(each.value, each.unit)
                bar, aim = _bound_text(each.bar), _aim_text(each.bar)
                sign = MARKS.get(each.mark, "✔")
                rows.append((result.title, each.what, value, bar, aim, sign))
    met = len(marks) - marks.count(FALLS_SHORT)
    aims = marks.count(MEETS_AIM)
    text = (
        f"{met} of {len(marks)} figures reach their bar, {aims} of them the aim. Each is the median"
        " of the pairs of one run, with the least and the greatest."
    )
    return [text, _table(("load", "figure", "measured", "bar", "aim", ""), rows)]


def _behind(results: Sequence[LoadResult]) -> list[str]:
    """Where luludb is behind a rival or its bar, as this run has it."""
    lines = []
    for result in results:
        for each in result.comparisons:
            if _is_behind(each):
                reason = f" {each.why}" if each.why else ""
                bar = f"; the bar is {_bound_text(each.bar)}" if each.bar else ""
                lines.append(
                    f"- {result.title}: {each.what} is"
                    f" {spread_text(each.value, each.unit)}{bar}.{reason}"
                )
    if not lines:
        return []
    return ["## Where luludb is slower than a rival, or short of its bar", "\n".join(lines)]


def _is_behind(comparison: Comparison) -> bool:
    is_slower = comparison.key.startswith("rate luludb") and comparison.value.median < 1
    return comparison.mark == FALLS_SHORT or is_slower


def _place_rows(place: Place) -> list[tuple[str, str]]:
    return [
        ("file system", place.file_system),
        (
            "write of 4 KiB and fdatasync",
            f"p50 {place.sync_p50_ms:.3f} ms, p99 {place.sync_p99_ms:.3f} ms",
        ),
    ]


def _warnings(facts: Facts) -> list[str]:
    if facts.load_average <= BUSY_LOAD_A_CORE * (os.cpu_count() or 1):
        return []
    text = (
        f"The machine was not idle when the run began (load average {facts.load_average:.2f}), so"
        " other work took part in these figures."
    )
    return [text]


def _systems(facts: Facts) -> list[str]:
    rows = [(name, each.version, each.settings) for name, each in facts.systems.items()]
    parts = [_table(("system", "version", "settings"), rows)]
    parts += [f"{name} was not measured: {reason}." for name, reason in facts.missing.items()]
    if facts.skipped:
        parts.append(f"Left out for lack of time: {', '.join(facts.skipped)}.")
    return parts


def _method(pace: Pace) -> list[str]:
    rounds = "once" if pace.pairs == 1 else f"{pace.pairs} times around"
    return [METHOD.format(seconds=pace.seconds, rounds=rounds, warm_s=pace.warm_s).strip()]


METHOD = """
- A load starts all systems and all their clients. Then one system after the other writes for
  {seconds:g} s, {rounds}, each time after {warm_s:g} s that do not count. A ratio is of two runs of
  the same round.
- A client is a Python process of its own that loops over the same rows and reads the clock before
  and after each call. All begin and end at the same moments. A call that is under way at the end
  is waited for: its latency counts, its message does not.
- *Durability*: `full` is kept through power loss, `normal` through the death of any process. That
  is synchronous FULL and NORMAL of SQLite, synchronous_commit on and off of PostgreSQL, and
  luludb's setting of those names.
- *Worst* is the latency at p99.9; the greatest stands beside it. *Fairness* is the rate of the
  slowest client over that of the fastest.
- *The limit* is one process that puts all rows into one transaction.
- Afterwards every row is read from the tables and compared with what the clients sent and what was
  acknowledged to them. One that is lost, doubled or changed ends the benchmark without a report.
  (PostgreSQL keeps no order of its own, so its rows are taken by id.)
"""


def _load(result: LoadResult) -> list[str]:
    parts = [f"### {result.title}", result.how]
    if result.runs:
        rows = [_run_row(name, runs) for name, runs in result.runs.items()]
        heads = ("", "a second", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "fairness", "failed")
        parts.append(_table(heads, rows))
    elif result.series:
        parts.append(_series_table(result.series))
    if result.comparisons:
        rows = [
            (each.what, spread_text(each.value, each.unit), _bar_text(each), each.mark)
            for each in result.comparisons
        ]
        parts.append(_table(("figure", "measured", "bar and aim", ""), rows))
    if result.kept:
        found = [f"{name}: {text}" for name, text in result.kept.items()]
        parts.append(f"Read back: {'; '.join(found)}.")
    return parts + result.notes


def _run_row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    errors: dict[str, int] = {}
    for run in runs:
        for code, count in run.errors.items():
            errors[code] = errors.get(code, 0) + count
    return (
        name,
        spread_text(spread_of(run.rate_per_s for run in runs)),
        number_text(spread_of(run.p50_ms for run in runs).median),
        number_text(spread_of(run.p99_ms for run in runs).median),
        number_text(spread_of(run.p999_ms for run in runs).median),
        number_text(max(run.max_ms for run in runs)),
        f"{spread_of(run.fairness for run in runs).median:.2f}",
        ", ".join(f"{count:,} {code}" for code, count in errors.items()) or "0",
    )


def _series_table(series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    steps = [step for step, _ in next(iter(series.values()))]
    rows = [(name, *(number_text(value) for _, value in points)) for name, points in series.items()]
    return _table(("", *(f"{step:,.0f}" for step in steps)), rows)


def _bar_text(comparison: Comparison) -> str:
    bar = comparison.bar
    return "" if bar is None else ", ".join(filter(None, (_bound_text(bar), _aim_text(bar))))


def _bound_text(bar: Bar) -> str:
    return f"{'≤' if bar.is_upper else '≥'} {bar.least:g}"


def _aim_text(bar: Bar) -> str:
    return "" if bar.aim is None else f"{'≤' if bar.is_upper else '≥'} {bar.aim:g}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
