"""Counters and percentiles: right to an eighth of an octave, over the last minute only."""

from __future__ import annotations

import random

import pytest

from luludb.daemon.figures import Figures, Window


@pytest.mark.parametrize("scale", [0.02, 1.0, 250.0])
def test_percentiles_are_within_an_eighth_of_an_octave(scale: float) -> None:
    numbers = random.Random(7)
    values = sorted(scale * numbers.expovariate(1) for _ in range(5000))
    window = Window()
    for value in values:
        window.add(value, 100.0)

    p50, p99, greatest = window.percentiles(100.5)

    assert p50 == pytest.approx(values[2500], rel=0.13, abs=0.002)
    assert p99 == pytest.approx(values[4950], rel=0.13, abs=0.002)
    assert greatest == values[-1]


def test_values_older_than_a_minute_are_forgotten() -> None:
    window = Window()
    window.add(500.0, 10.0)
    window.add(1.0, 65.0)

    assert window.percentiles(69.9)[2] == 500.0
    assert window.percentiles(70.1)[2] == 1.0
    assert window.percentiles(200.0) == (0.0, 0.0, 0.0)


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    window = Window()
    for number in range(20_000):
        window.add(number % 1000, number / 10)

    assert len(window._seconds) <= 60
    assert all(len(buckets) < 200 for buckets in window._seconds.values())


def test_the_body_has_three_percentiles_of_each_window() -> None:
    figures = Figures()
    figures.batch_commands.add(3, 1.0)

    body = figures.body(1.0)

    assert body["batch_commands_p50"] == 3
    for name in ("batch_commands", "commit_ms", "queue_wait_ms"):
        assert {f"{name}_p50", f"{name}_p99", f"{name}_max"} <= body.keys()
