"""The arithmetic of the benchmark."""

from __future__ import annotations

import time
from array import array

import pytest

from luludb.model import Change
from scripts.bench.bench import RowsWrong
from scripts.bench.burner import burn
from scripts.bench.crowd import Moments
from scripts.bench.figures import (
    FALLS_SHORT,
    MEETS_AIM,
    MEETS_BAR,
    Bar,
    Run,
    Spread,
    curve_of,
    percentile,
    rate,
    ratios,
    run_of,
    spread_of,
)
from scripts.bench.follower import Notes
from scripts.bench.plots import rate_points
from scripts.bench.resources import Activity, growth_percent
from scripts.bench.share import Share
from scripts.bench.watchers import Taken, taken_between
from scripts.bench.watching import delays_of
from tests.unit.benchmarks import load_of, run


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0.1, 1), (50, 500), (99, 990), (99.9, 999), (99.91, 1000), (100, 1000)],
)
def test_a_percentile_is_the_smallest_value_not_below_that_many(
    percent: float, expected: float
) -> None:
    assert percentile(range(1, 1001), percent) == expected


def test_the_percentile_of_nothing_is_zero() -> None:
    assert percentile([], 99.9) == 0


def test_a_spread_has_the_median_between_its_bounds() -> None:
    assert spread_of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)


def test_ratios_are_of_the_same_round() -> None:
    """10/1, 20/4 and 30/3: not the ratio of the medians, which is 20/3."""
    runs = {"a": [run(10), run(20), run(30)], "b": [run(1), run(4), run(3)]}

    assert ratios(runs, "a", "b", rate) == Spread(10.0, 5.0, 10.0)


def test_a_rival_without_any_is_infinitely_slower() -> None:
    assert ratios({"a": [run(1)], "b": [run(0)]}, "a", "b", rate).median == float("inf")


def test_ratios_need_as_many_runs_of_each() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios({"a": [run(1), run(2)], "b": [run(1)]}, "a", "b", rate)


@pytest.mark.parametrize(
    ("bar", "value", "expected"),
    [
        pytest.param(Bar(3, 4), 2.99, FALLS_SHORT, id="below"),
        pytest.param(Bar(3, 4), 3.0, MEETS_BAR, id="at-the-bar"),
        pytest.param(Bar(3, 4), 4.0, MEETS_AIM, id="at-the-aim"),
        pytest.param(Bar(1.4, 1.0, is_upper=True), 1.41, FALLS_SHORT, id="above-an-upper-one"),
        pytest.param(Bar(1.4, 1.0, is_upper=True), 1.2, MEETS_BAR, id="below-an-upper-one"),
        pytest.param(Bar(1.4, 1.0, is_upper=True), 0.9, MEETS_AIM, id="below-an-upper-aim"),
        pytest.param(Bar(1, is_upper=True), 0.5, MEETS_BAR, id="without-an-aim"),
    ],
)
def test_a_value_is_marked_by_its_bar(bar: Bar, value: float, expected: str) -> None:
    assert bar.mark(value) == expected


def test_a_run_adds_the_rates_of_its_clients_and_merges_their_latencies() -> None:
    shares = [
        Share(30, 2.0, array("d", [1.0, 3.0]), {"database_is_locked": 1}),
        Share(10, 2.0, array("d", [2.0, 9.0]), {"database_is_locked": 2}),
    ]

    assert run_of(shares) == Run(
        rate_per_s=20.0,
        calls=4,
        p50_ms=2.0,
        p99_ms=9.0,
        p999_ms=9.0,
        max_ms=9.0,
        fairness=10 / 30,
        errors={"database_is_locked": 3},
    )


def test_a_curve_ends_with_the_greatest() -> None:
    curve = dict(curve_of([float(value) for value in range(10_000, 0, -1)]))

    assert (curve[50.0], curve[99.9], curve[100.0]) == (5000.0, 9990.0, 10_000.0)


def test_growth_is_looked_for_in_the_second_half_only() -> None:
    points = [(0.0, 10.0), (50.0, 40.0), (75.0, 42.0), (100.0, 41.0)]

    assert growth_percent(points) == pytest.approx(5.0)


def test_the_plot_of_rates_takes_every_load_that_blocks_at_that_durability() -> None:
    results = [
        load_of("blocking-16-full", processes=16, durability="full", luludb=[run(7), run(9)]),
        load_of("blocking-16-normal", processes=16, durability="normal", luludb=[run(99)]),
        load_of("window-16-full", processes=16, durability="full", luludb=[run(50)]),
        load_of("processes-full", durability="full"),
    ]
    results[-1].series = {"luludb": [(1.0, 2.0), (32.0, 6.0)]}

    assert rate_points(results, "full") == {"luludb": [(1.0, 2.0), (16.0, 8.0), (32.0, 6.0)]}


MOMENTS = Moments(start_ns=0, from_ns=1_000_000, end_ns=9_000_000)


def test_a_change_counts_from_its_acknowledgement_and_never_below_zero() -> None:
    delays = delays_of(
        {"a": 1_000_000, "b": 2_000_000, "c": 9_000_000},
        {"a": 3_000_000, "b": 1_500_000, "c": 9_500_000, "of-another": 5},
        MOMENTS,
    )

    assert list(delays.delays_ms) == [2.0, 0.0, 0.5]
    assert delays.ahead == 1


def test_what_was_acknowledged_in_the_warm_up_or_late_has_no_delay() -> None:
    delays = delays_of({"warm": 999_999, "late": 9_000_001}, {"late": 9_000_002}, MOMENTS)

    assert list(delays.delays_ms) == []


def test_a_change_that_no_watcher_saw_ends_the_benchmark() -> None:
    with pytest.raises(RowsWrong, match="message b was acknowledged, and no watcher saw"):
        delays_of({"a": 2_000_000, "b": 2_000_000}, {"a": 2_000_000}, MOMENTS)


@pytest.mark.parametrize("rev", [5, 6, 8])
def test_a_follower_takes_no_gap_and_nothing_twice(rev: int) -> None:
    notes = Notes()
    for number in (5, 6):
        notes.take(Change(number, "message.append", "s", f"m{number}", "now"))

    with pytest.raises(ValueError, match=f"change {rev} came behind 6"):
        notes.take(Change(rev, "message.append", "s", "m", "now"))

    assert list(notes.moments_ns) == ["m5", "m6"]


def test_what_a_process_took_is_told_by_the_second() -> None:
    before, after = Activity(switches=10, processor_ms=100), Activity(110, 350)

    assert taken_between(before, after, 0.5) == Taken(share=0.5, wakeups_per_s=200)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_burner_takes_its_share_and_no_more(share: float) -> None:
    start_ns = time.perf_counter_ns()
    began_s = time.process_time()

    burn(share=share, times_a_second=100, start_ns=start_ns, end_ns=start_ns + 300_000_000)

    taken_s = time.process_time() - began_s
    lasted_s = (time.perf_counter_ns() - start_ns) / 1e9
    assert lasted_s >= 0.3
    # Each of its wake-ups, 30 at the most, takes a little time of its own.
    assert taken_s <= share * lasted_s + 30 * 0.0005
    assert taken_s > 0.01 or share == 0
