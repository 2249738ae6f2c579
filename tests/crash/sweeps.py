"""Trial after trial, with a fault in each call that the daemon makes over a short workload."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.crash.faults import Fault, Trial, try_fault
from tests.crash.progress import Tell, tell_nobody

Kind = tuple[str, str | None]
"""A call, and the error with which it fails; None stands for a kill."""

KINDS: tuple[Kind, ...] = (
    ("fdatasync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("ftruncate", "EIO"),
    ("ftruncate", "ENOSPC"),
    ("fdatasync", None),
    ("pwrite64", None),
    ("ftruncate", None),
)


@dataclass(slots=True)
class SweepFigures:
    """How many trials ended in which way, by call and error."""

    commands: int
    calls: Counter[str]
    trials: int = 0
    refused_full: int = 0
    endings: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, trial: Trial) -> None:
        """Count one trial."""
        assert trial.fault is not None
        self.trials += 1
        self.refused_full += trial.refused_full
        self.endings.setdefault(trial.fault.kind, Counter())[trial.ending] += 1


def count_calls(commands: int) -> Counter[str]:
    """How often a daemon makes each call from its start to its stop, with so many commands."""
    return try_fault(None, commands).calls


def sweep(
    commands: int,
    kinds: Iterable[Kind],
    calls: Counter[str],
    *,
    each_max: int | None = None,
    tell: Tell = tell_nobody,
) -> SweepFigures:
    """Let every call of these kinds fail once, or `each_max` of each kind, evenly spread.

    There are as many trials at once as the machine has processors. Each is made of processes, and
    a thread here waits for them.

    Args:
        commands: how many commands are sent.
        kinds: which faults.
        calls: what `count_calls` counted with as many commands.
        each_max: None for all.
        tell: hears how far it is after each trial.

    Raises:
        AssertionError: what `try_fault` found.
    """
    figures = SweepFigures(commands, calls)
    faults = [
        Fault(call, error, number)
        for call, error in kinds
        for number in _numbers(calls[call], each_max)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for trial in pool.map(partial(try_fault, commands=commands), faults):
            assert trial.was_hit, f"{trial.fault} was never made"
            figures.add(trial)
            tell(f"{figures.trials} of {len(faults)} trials; the last one: {trial}")
    return figures


def sweep_all(commands: int, tell: Tell = tell_nobody) -> SweepFigures:
    """Let every call fail once in every way."""
    return sweep(commands, KINDS, count_calls(commands), tell=tell)


def _numbers(count: int, each_max: int | None) -> Iterator[int]:
    """From 1 to `count`, or `each_max` of them from the first to the last."""
    shown = count if each_max is None else min(each_max, count)
    for index in range(shown):
        yield 1 + index * (count - 1) // max(1, shown - 1)
