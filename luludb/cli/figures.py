"""`luludb ping` and `luludb status`: does the daemon answer, and how is it doing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from luludb.cli import tables
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.quantities import (
    ago_text,
    bytes_text,
    count_text,
    counted,
    duration_text,
    milliseconds_text,
)
from luludb.commands import NORMAL

if TYPE_CHECKING:
    from luludb.home import Home

_COLUMN: Final = 10  # characters of a percentile
_SURVIVES: Final = {True: "a loss of power", False: "the death of any process"}


@dataclass(frozen=True, slots=True)
class Disk:
    """What lies in the home, in bytes; None where it cannot be known."""

    database_bytes: int | None
    free_bytes: int | None


def look_at_disk(home: Home) -> Disk:
    """The sizes that the daemon does not tell. It opens no file."""
    try:
        database_bytes = home.database.stat().st_size
    except OSError:
        database_bytes = None
    try:
        free_bytes = shutil.disk_usage(home.path).free
    except OSError:
        free_bytes = None
    return Disk(database_bytes, free_bytes)


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
@click.option("--metrics", "as_metrics", is_flag=True, help="Print OpenMetrics text.")
@target_options
@pass_target
def status(target: Target, *, as_json: bool, as_metrics: bool) -> None:
    """Show the daemon's figures.

    Percentiles are those of the last 60 seconds. Elsewhere than on a terminal: one line for each
    figure, name and value parted by a tab.
    """
    if as_json and as_metrics:
        raise click.UsageError("--json and --metrics do not go together; give one of them")
    with target.client() as client:
        found = client.status()
    if as_json:
        tables.print_json(found)
    elif as_metrics:
        from luludb.admin.metrics import metrics_text

        click.echo(metrics_text(found), nl=False)
    elif tables.is_terminal():
        tables.print_pairs(list(readable(found, look_at_disk(target.home))))
    else:
        tables.print_pairs([(name, str(value)) for name, value in found.items()])


def readable(found: Mapping[str, Any], disk: Disk) -> Iterator[tuple[str, str]]:
    """Names and values as a person reads them, 20 lines that fit 80 columns."""
    figure = {name: count_text(value) for name, value in found.items()}
    uptime = duration_text(found["uptime_s"])
    yield "daemon", f"luludb {found['version']}, running for {uptime}, pid {found['pid']}"
    yield "home", str(found["home"])
    survives = _SURVIVES[found["durability"] != NORMAL]
    yield "durability", f"{found['durability']}: what is acknowledged survives {survives}"
    yield "", ""
    yield (
        "commands",
        (
            f"{figure['commands_total']}, of them {figure['commands_refused_total']} refused;"
            f" {figure['duplicates_total']} sent again"
        ),
    )
    yield "batches", figure["batches_total"]
    yield from percentile_lines(found)
    yield "", ""
    log = bytes_text(found["wal_bytes"])
    yield "database", f"{bytes_text(disk.database_bytes)}, and {log} of write-ahead log"
    yield "checkpoints", f"{figure['checkpoints_total']}, {_last(found)}"
    yield "disk", f"{bytes_text(disk.free_bytes)} free"
    yield "changes", f"rev {figure['first_rev']} to {figure['last_rev']}"
    yield "", ""
    yield "connections", f"{figure['connections']} now; {figure['clients']} clients are known"
    yield "process", f"{bytes_text(found['rss_bytes'])} of memory, {_files(found)}"
    yield (
        "trouble",
        (
            f"{counted(found['foreign_writer_waits_total'], 'wait')} for another program's lock,"
            f" {counted(found['dropped_frames_total'], 'frame')} dropped"
        ),
    )
    yield (
        "versions",
        (
            f"SQLite {found['sqlite_version']}, schema {found['schema_version']},"
            f" protocol {found['protocol']}"
        ),
    )
    yield "database_id", str(found["database_id"])


def percentile_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A small table of the last 60 seconds, a heading and three lines."""
    heading = "".join(f"{name:>{_COLUMN}}" for name in ("p50", "p99", "max"))
    yield "last 60 s", heading
    for label, stem, text in (
        ("batch size", "batch_commands", count_text),
        ("commit ms", "commit_ms", milliseconds_text),
        ("queue ms", "queue_wait_ms", milliseconds_text),
    ):
        values = (text(found[f"{stem}_{end}"]) for end in ("p50", "p99", "max"))
        yield label, "".join(f"{value:>{_COLUMN}}" for value in values)


def _last(found: Mapping[str, Any]) -> str:
    moment = found["last_checkpoint"]
    return "none yet" if moment is None else f"the last one {ago_text(moment)}"


def _files(found: Mapping[str, Any]) -> str:
    return counted(found["open_files"], "open file")
