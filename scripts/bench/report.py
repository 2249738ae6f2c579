"""The report: Markdown made from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.bench.bench import Bench
from scripts.bench.figures import Comparison, LoadResult
from scripts.bench.machine import Place


def line_of(comparison: Comparison) -> str:
    """One comparison as a line of the terminal."""
    value = comparison.value
    text = (
        f"{comparison.what}: {value.median:.2f} ({value.least:.2f}..{value.greatest:.2f})"
        f"{' ' + comparison.unit if comparison.unit else ''}"
    )
    if comparison.bar is not None:
        text += f"  [{comparison.bar.least:g}, aim {comparison.bar.aim}] {comparison.mark}"
    return text


def render(
    *,
    machine: Mapping[str, str],
    place: Place,
    bench: Bench,
    results: Sequence[LoadResult],
    images: Sequence[str],
) -> str:
    del machine, place, bench, images
    return "\n".join(line_of(each) for result in results for each in result.comparisons)
