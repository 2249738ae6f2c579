"""The plots, where matplotlib is there."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.bench.figures import LoadResult, spread_of

COLOURS = {
    "luludb": "#1b6ca8",
    "direct": "#c8553d",
    "PostgreSQL": "#5b8e5a",
    "sqlite_rx": "#8d6b94",
}
OTHER_COLOURS = ("#c99a2e", "#4a4a4a", "#7fb2d6", "#d99a8b")
DOTS_PER_INCH = 130
NAMES = ("rate.png", "latency-16.png", "latency-64.png", "growth.png", "memory.png")
DURABILITIES = ("full", "normal")


def draw(results: Sequence[LoadResult], directory: Path) -> list[tuple[str, str]]:
    """Draw what `results` have, as PNG files in `directory`.

    Returns:
        File name and caption of each; nothing where matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return []
    import matplotlib

    matplotlib.use("Agg")
    drawn = []
    for name, caption, panels in _figures(results):
        _save(panels, directory / name)
        drawn.append((name, caption))
    return drawn


Panel = Callable[[Any], None]
"""Draws into one matplotlib Axes."""


def _figures(results: Sequence[LoadResult]) -> Iterator[tuple[str, str, list[Panel]]]:
    by_key = {result.key: result for result in results}
    rates = [panel for level in DURABILITIES if (panel := _rate_panel(results, level))]
    if rates:
        yield "rate.png", "Messages a second against the number of processes, blocking", rates
    for processes in (16, 64):
        found = [by_key.get(f"blocking-{processes}-{level}") for level in DURABILITIES]
        panels = [_latency_panel(result) for result in found if result is not None]
        if panels:
            caption = f"Latency of an append by {processes} processes, blocking"
            yield f"latency-{processes}.png", caption, panels
    growth = by_key.get("growth")
    if growth is not None:
        panels = [_growth_panel(growth)]
        yield "growth.png", "Appends and reads as the file grows", panels
    memory = by_key.get("memory")
    if memory is not None and memory.series:
        yield "memory.png", "The daemon's resident memory", [_memory_panel(memory)]


def rate_points(
    results: Sequence[LoadResult], durability: str
) -> dict[str, list[tuple[float, float]]]:
    """By system, (processes, messages a second) of all loads that block, in order."""
    points: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        if result.durability != durability:
            continue
        if result.key.startswith("blocking-"):
            for name, runs in result.runs.items():
                median = spread_of(run.rate_per_s for run in runs).median
                points.setdefault(name, []).append((float(result.processes), median))
        elif result.key.startswith("processes-"):
            for name, series in result.series.items():
                points.setdefault(name, []).extend(series)
    return {name: sorted(found) for name, found in points.items()}


def _rate_panel(results: Sequence[LoadResult], durability: str) -> Panel | None:
    points = rate_points(results, durability)
    if not points:
        return None

    def draw_panel(axes: Any) -> None:
        for number, (name, found) in enumerate(points.items()):
            axes.plot(*zip(*found, strict=True), "o-", label=name, color=_colour(name, number))
        steps = sorted({step for found in points.values() for step, _ in found})
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [f"{step:.0f}" for step in steps])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("processes")
        axes.set_ylabel("messages a second")
        axes.set_title(durability)

    return draw_panel


def _latency_panel(result: LoadResult) -> Panel:
    def draw_panel(axes: Any) -> None:
        for number, (name, curve) in enumerate(result.curves.items()):
            # 100 percent has no place on an axis of nines; it stands one step behind the last.
            nines = [-math.log10(max(1 - percent / 100, 1e-5)) for percent, _ in curve]
            values = [max(value, 1e-3) for _, value in curve]
            axes.plot(nines, values, label=name, color=_colour(name, number))
        axes.set_yscale("log")
        ticks = ((50, "50"), (90, "90"), (99, "99"), (99.9, "99.9"), (99.99, "99.99"))
        places = [-math.log10(1 - percent / 100) for percent, _ in ticks]
        axes.set_xticks([*places, 5], [*(text for _, text in ticks), "max"])
        axes.set_xlabel("percent of the calls")
        axes.set_ylabel("took at most (ms)")
        axes.set_title(result.durability)

    return draw_panel


def _growth_panel(result: LoadResult) -> Panel:
    def draw_panel(axes: Any) -> None:
        for number, (name, points) in enumerate(result.series.items()):
            sizes, values = zip(*points, strict=True)
            label = "append, rate" if name == "append" else f"{name}, p50"
            colour = COLOURS["luludb"] if name == "append" else OTHER_COLOURS[number - 1]
            relative = [value / values[0] for value in values]
            axes.plot(sizes, relative, marker="o", label=label, color=colour)
        axes.axhline(1, color="#999999", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("messages in the file")
        axes.set_ylabel(f"relative to {result.series['append'][0][0]:,.0f} messages")

    return draw_panel


def _memory_panel(result: LoadResult) -> Panel:
    def draw_panel(axes: Any) -> None:
        for name, points in result.series.items():
            written, sizes = zip(*points, strict=True)
            axes.plot(written, sizes, label=name, color=COLOURS["luludb"])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("messages written")
        axes.set_ylabel("MB")

    return draw_panel


def _save(panels: Sequence[Panel], path: Path) -> None:
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(
        1, len(panels), figsize=(5.2 * len(panels), 3.8), squeeze=False, layout="constrained"
    )
    for panel, axes in zip(panels, all_axes[0], strict=True):
        panel(axes)
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.ticklabel_format(axis="y", style="plain") if axes.get_yscale() == "linear" else None
    all_axes[0][0].legend(frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)


def _colour(name: str, number: int) -> str:
    return COLOURS.get(name, OTHER_COLOURS[number % len(OTHER_COLOURS)])
