"""Small results of benchmarks, for tests."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.bench.figures import LoadResult, Run


def run(rate_per_s: float, *, errors: dict[str, int] | None = None) -> Run:
    """A run of that rate; all else is the same in all of them."""
    return Run(
        rate_per_s=rate_per_s,
        calls=100,
        p50_ms=0.5,
        p99_ms=2.0,
        p999_ms=3.0,
        max_ms=4.0,
        fairness=0.9,
        errors=errors or {},
    )


def load_of(
    key: str, *, processes: int = 0, durability: str = "", **runs: Sequence[Run]
) -> LoadResult:
    """A load with the runs of each system."""
    return LoadResult(
        key=key,
        title=f"title of {key}",
        how=f"how {key} was done",
        durability=durability,
        processes=processes,
        runs={name: list(each) for name, each in runs.items()},
    )
