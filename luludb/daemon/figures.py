"""What the daemon counts and times about itself."""

from __future__ import annotations

from collections import defaultdict

from luludb.limits import FIGURES_WINDOW_S

_STEPS_PER_OCTAVE = 8  # a percentile is exact to one eighth of an octave, 9 percent


class Window:
    """Percentiles of the values of the last 60 seconds.

    Values fall into buckets of one eighth of an octave, one set of buckets a second, so that
    memory and work stay the same however many there are.

    Attributes:
        newest: the last value; 0 before the first.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, dict[int, int]] = {}
        self._max: dict[int, float] = {}
        self._second = -1  # the last one in which there was a value, and its buckets
        self._buckets: dict[int, int] = {}
        self.newest = 0.0

    def add(self, value: float, now_s: float) -> None:
        """Note `value`, not negative, at `now_s` of a monotonic clock."""
        self.newest = value
        second = int(now_s)
        if second != self._second:
            self._forget_before(second - FIGURES_WINDOW_S)
            self._second = second
            self._buckets = self._seconds.setdefault(second, defaultdict(int))
            self._max.setdefault(second, 0.0)
        thousandths = int(value * 1000) + _STEPS_PER_OCTAVE
        shift = thousandths.bit_length() - 4
        self._buckets[shift * _STEPS_PER_OCTAVE + (thousandths >> shift) - _STEPS_PER_OCTAVE] += 1
        if value > self._max[second]:
            self._max[second] = value

    def percentiles(self, now_s: float) -> tuple[float, float, float]:
        """The p50, p99 and greatest value; zeros where there was none."""
        self._forget_before(int(now_s) - FIGURES_WINDOW_S)
        merged: dict[int, int] = {}
        for buckets in self._seconds.values():
            for bucket, count in buckets.items():
                merged[bucket] = merged.get(bucket, 0) + count
        greatest = max(self._max.values(), default=0.0)
        return (
            min(_quantile(merged, 0.5), greatest),
            min(_quantile(merged, 0.99), greatest),
            greatest,
        )

    def _forget_before(self, second: int) -> None:
        for old in [kept for kept in self._seconds if kept <= second]:
            del self._seconds[old], self._max[old]


class Figures:
    """The counters of one daemon's life."""

    def __init__(self) -> None:
        self.commands_total = 0
        self.commands_refused_total = 0
        self.duplicates_total = 0
        self.batches_total = 0
        self.dropped_frames_total = 0
        self.connections = 0
        self.batch_commands = Window()
        self.commit_ms = Window()
        self.queue_wait_ms = Window()

    def body(self, now_s: float) -> dict[str, int | float]:
        """The counters and percentiles by their names in a status reply."""
        figures: dict[str, int | float] = {
            "connections": self.connections,
            "commands_total": self.commands_total,
            "commands_refused_total": self.commands_refused_total,
            "duplicates_total": self.duplicates_total,
            "batches_total": self.batches_total,
            "dropped_frames_total": self.dropped_frames_total,
        }
        for name, window in (
            ("batch_commands", self.batch_commands),
            ("commit_ms", self.commit_ms),
            ("queue_wait_ms", self.queue_wait_ms),
        ):
            for suffix, value in zip(("p50", "p99", "max"), window.percentiles(now_s), strict=True):
                figures[f"{name}_{suffix}"] = (
                    round(value, 3) if name.endswith("ms") else round(value)
                )
        return figures


def _upper_bound(bucket: int) -> float:
    shift, step = divmod(bucket, _STEPS_PER_OCTAVE)
    return ((((step + _STEPS_PER_OCTAVE + 1) << shift) - 1) - _STEPS_PER_OCTAVE) / 1000


def _quantile(merged: dict[int, int], share: float) -> float:
    wanted = share * sum(merged.values())
    seen = 0
    for bucket in sorted(merged):
        seen += merged[bucket]
        if seen >= wanted:
            return _upper_bound(bucket)
    return 0.0
