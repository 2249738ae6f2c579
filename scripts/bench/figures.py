"""What was measured, as numbers: runs, their spread, and how they stand to the bars."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from scripts.bench.share import Share

WORST_PERCENT = 99.9
FALLS_SHORT, MEETS_BAR, MEETS_AIM = "falls short", "meets the bar", "meets the aim"
REPORTED = "reported"
CURVE_PERCENTS = (
    *(10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.0, 98.0, 99.0),
    *(99.25, 99.5, 99.7, 99.8, 99.9, 99.925, 99.95, 99.97, 99.98, 99.99, 100.0),
)
"""Where a distribution of latencies is drawn."""


@dataclass(frozen=True, slots=True)
class Run:
    """One system in one run.

    Attributes:
        rate_per_s: acknowledged messages of all clients together.
        fairness: the slowest client's rate over the fastest one's.
        errors: failed calls by code.
    """

    rate_per_s: float
    calls: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    fairness: float
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, with the least and the greatest."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach, and what it should; upper bounds where `is_upper`."""

    least: float
    aim: float | None = None
    is_upper: bool = False

    def mark(self, value: float) -> str:
        """How `value` stands to this bar, in words."""
        if not self._allows(value, self.least):
            return FALLS_SHORT
        if self.aim is not None and self._allows(value, self.aim):
            return MEETS_AIM
        return MEETS_BAR

    def _allows(self, value: float, bound: float) -> bool:
        return value <= bound if self.is_upper else value >= bound


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of a load: a ratio of one run, or a size.

    Attributes:
        key: short and unique in its load, for `figures.json`.
        what: in words.
        value: over the pairs.
        bar: None where the figure is only reported.
        unit: of a figure that is no ratio.
        why: the reason where luludb is behind, said only there.
    """

    key: str
    what: str
    value: Spread
    bar: Bar | None = None
    unit: str = ""
    why: str = ""

    @property
    def mark(self) -> str:
        """How the median stands to the bar, in words."""
        return REPORTED if self.bar is None else self.bar.mark(self.value.median)


@dataclass(slots=True)
class LoadResult:
    """What came of one load.

    Attributes:
        how: what was done, in sentences for the report.
        runs: by system, in the order of the rounds.
        curves: by system, (percent, milliseconds) over all rounds.
        series: by name, points of a line to draw.
        kept: by system, what reading the rows back found.
        notes: sentences that the data asked for.
    """

    key: str
    title: str
    how: str
    durability: str = ""
    processes: int = 0
    runs: dict[str, list[Run]] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of `ordered` that is not below `percent` of them; 0 of none."""
    if not ordered:
        return 0.0
    # Counted in thousandths of a percent, since 99.9 has no exact binary form.
    rank = -(-len(ordered) * round(percent * 1000) // 100_000)
    return ordered[max(0, rank - 1)]


def run_of(shares: Sequence[Share]) -> Run:
    """What the clients of one run did together."""
    ordered = sorted(latency for share in shares for latency in share.latencies_ms)
    rates = [share.acknowledged / share.seconds for share in shares]
    errors: Counter[str] = Counter()
    for share in shares:
        errors.update(share.errors)
    return Run(
        rate_per_s=sum(rates),
        calls=len(ordered),
        p50_ms=percentile(ordered, 50),
        p99_ms=percentile(ordered, 99),
        p999_ms=percentile(ordered, WORST_PERCENT),
        max_ms=percentile(ordered, 100),
        fairness=min(rates) / max(rates) if max(rates) else 0.0,
        errors=dict(errors),
    )


def curve_of(latencies_ms: Iterable[float]) -> list[tuple[float, float]]:
    """The distribution of `latencies_ms` at CURVE_PERCENTS."""
    ordered = sorted(latencies_ms)
    return [(percent, percentile(ordered, percent)) for percent in CURVE_PERCENTS]


def spread_of(values: Iterable[float]) -> Spread:
    """The median and the bounds of at least one value."""
    values = list(values)
    return Spread(statistics.median(values), min(values), max(values))


def ratios(
    runs: Mapping[str, Sequence[Run]],
    over: str,
    under: str,
    figure: Callable[[Run], float],
) -> Spread:
    """`figure` of system `over` divided by that of `under`, pair by pair of the same round.

    A pair in which `under` has nothing gives infinity.
    """
    pairs = zip(runs[over], runs[under], strict=True)
    return spread_of(
        figure(one) / figure(other) if figure(other) else float("inf") for one, other in pairs
    )


def rate(run: Run) -> float:
    return run.rate_per_s


def p50(run: Run) -> float:
    return run.p50_ms


def worst(run: Run) -> float:
    return run.p999_ms
