"""`luludb ping` and `luludb status`: does the daemon answer, and how is it doing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from luludb.cli import tables
from luludb.cli.options import Target, as_json, pass_target, target_options

_BYTES_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_NUMBERS_THAT_NAME: Final = ("pid", "protocol", "schema_version")
_PERCENTILES: Final = ("p50", "p99", "max")


@click.command
@as_json
@target_options
@pass_target
def ping(target: Target, *, as_json: bool) -> None:
    """Ask whether the daemon answers; without an answer it ends with 3."""
    with target.client() as client:
        started_s = time.perf_counter()
        client.ping()
        answered_ms = (time.perf_counter() - started_s) * 1000
    if as_json:
        tables.print_json({"answered_ms": round(answered_ms, 3)})
    else:
        tables.print_line(f"the daemon answered in {answered_ms:.1f} ms")


@click.command
@as_json
@target_options
@pass_target
def status(target: Target, *, as_json: bool) -> None:
    """Show the daemon's figures.

    Percentiles are those of the last 60 seconds.
    """
    with target.client() as client:
        found = client.status()
    if as_json:
        tables.print_json(found)
    elif tables.is_terminal():
        tables.print_pairs(list(readable(found)))
    else:
        tables.print_pairs([(name, str(value)) for name, value in found.items()])


def readable(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values as a person reads them, with the percentiles of one figure on one line."""
    for name, value in found.items():
        stem, _, percentile = name.rpartition("_")
        if percentile not in _PERCENTILES:
            yield name, _figure(name, value)
        elif percentile == _PERCENTILES[0]:
            values = ((which, found.get(f"{stem}_{which}")) for which in _PERCENTILES)
            yield stem, "   ".join(f"{which} {_figure(stem, value)}" for which, value in values)


def _figure(name: str, value: Any) -> str:
    match value:
        case None:
            return "none"
        case _ if name in _NUMBERS_THAT_NAME or not isinstance(value, int | float):
            return str(value)
        case int() | float() if name.endswith("_bytes"):
            return _bytes_text(value)
        case int() | float() if name.endswith("_s"):
            return _duration_text(value)
        case int():
            return f"{value:,}"
    return f"{value:,.2f}"


def _bytes_text(count: float) -> str:
    for unit, unit_bytes in _BYTES_UNITS:
        if count >= unit_bytes:
            return f"{count / unit_bytes:.1f} {unit}"
    return f"{count:,.0f} bytes"


def _duration_text(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{seconds:.1f} s"
