"""The report says what the figures say, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.bench.bench import Pace
from scripts.bench.figures import Bar, Comparison, LoadResult, Spread
from scripts.bench.machine import Place
from scripts.bench.report import Facts, Setting, line_of, number_text, render, spread_text
from tests.unit.benchmarks import load_of, run

FACTS = Facts(
    machine={"processor": "a fast one"},
    load_average=0.0,
    place=Place("/var/tmp/x", "ext4 (rw)", 0.25, 1.5),
    pace=Pace(pairs=5, seconds=3.0, warm_s=0.5, is_short=False),
    data="real dialogues",
    systems={"luludb": Setting("luludb 9", "as it comes")},
    missing={},
    skipped=[],
)


def judged(median: float, *, why: str = "") -> LoadResult:
    """A load whose rate against direct is `median`, with a bar of 3 and an aim of 4."""
    result = load_of("blocking-16-full", luludb=[run(300)], direct=[run(100)])
    result.comparisons = [
        Comparison(
            "rate luludb / direct",
            "rate of luludb against direct",
            Spread(median, median - 0.5, median + 0.5),
            Bar(3, 4),
            why=why,
        )
    ]
    return result


def test_a_figure_stands_with_its_spread_its_bar_and_its_mark() -> None:
    report = render(FACTS, [judged(4.2)], [])

    assert (
        "| title of blocking-16-full | rate of luludb against direct | 4.20 (3.70..4.70) | ≥ 3 |"
        " ≥ 4 | ✔ aim |" in report
    )
    assert "1 of 1 figures reach their bar, 1 of them the aim" in report
    assert "slower than a rival" not in report


def test_what_falls_short_is_named_with_its_reason() -> None:
    report = render(FACTS, [judged(2.0, why="Because of the disk.")], [])

    assert "✘ falls short" in report
    assert "0 of 1 figures reach their bar" in report
    assert (
        "- title of blocking-16-full: rate of luludb against direct is 2.00 (1.50..2.50);"
        " the bar is ≥ 3. Because of the disk." in report
    )


def test_a_rival_that_is_ahead_is_named_where_there_is_no_bar() -> None:
    result = judged(0.9)
    result.comparisons = [replace(result.comparisons[0], bar=None)]

    report = render(FACTS, [result], [])

    assert "is 0.900 (0.400..1.40)." in report.split("slower than a rival")[1]


def test_failed_calls_are_in_the_table_of_their_load() -> None:
    first = run(10, errors={"database_is_locked": 2})
    second = run(12, errors={"database_is_locked": 3})
    result = load_of("x", direct=[first, second])

    assert (
        "| direct | 11.0 (10.0..12.0) | 0.500 | 2.00 | 3.00 | 4.00 | 0.90 | 5 database_is_locked |"
        in render(FACTS, [result], [])
    )


def test_what_was_not_measured_is_said() -> None:
    facts = replace(FACTS, missing={"PostgreSQL": "it is not installed"}, skipped=["growth"])

    report = render(facts, [judged(4)], [])

    assert "PostgreSQL was not measured: it is not installed." in report
    assert "Left out for lack of time: growth." in report


def test_a_busy_machine_is_said() -> None:
    assert "was not idle" not in render(FACTS, [judged(4)], [])
    assert "load average 900.00" in render(replace(FACTS, load_average=900.0), [judged(4)], [])


def test_disk_and_plots_are_shown() -> None:
    report = render(FACTS, [judged(4)], [("rate.png", "Rates")])

    assert "| file system | ext4 (rw) |" in report
    assert "p50 0.250 ms" in report
    assert "![Rates](rate.png)" in report


def test_a_series_is_a_table() -> None:
    result = load_of("processes-full")
    result.series = {"luludb": [(1.0, 1234.5), (32.0, 20.0)]}

    report = render(FACTS, [result], [])

    assert "|  | 1 | 32 |" in report
    assert "| luludb | 1,234 | 20.0 |" in report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.01234, "0.0123"), (9.876, "9.88"), (98.76, "98.8")),
        *((12345.6, "12,346"), (float("inf"), "∞")),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_single_value_has_no_spread() -> None:
    assert spread_text(Spread(2.0, 2.0, 2.0), "MB") == "2.00 MB"


def test_the_terminal_shows_the_bar() -> None:
    assert line_of(judged(3.5).comparisons[0]) == (
        "rate of luludb against direct: 3.50 (3.00..4.00)  [≥ 3, ≥ 4]  meets the bar"
    )
