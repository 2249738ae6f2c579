"""`luludb import` and `luludb export`: JSON lines in and out."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from luludb.cli import tables
from luludb.cli.completing import SESSION_ID
from luludb.cli.exits import REFUSED, say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.progress import tracked
from luludb.cli.texts import json_shown
from luludb.cli.waiting import tell_of_a_wait
from luludb.errors import LuludbError
from luludb.limits import LINES_SHOWN_MAX

if TYPE_CHECKING:
    from luludb.admin.importing import Summary


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@as_json
@target_options
@pass_target
def import_file(target: Target, *, file: str, as_json: bool) -> int:
    """Add sessions and messages from a file.

    FILE, or standard input for `-`, holds JSON lines as `luludb export` writes them, packed with
    gzip or not. It may also be a SQLite file with the tables sessions and messages. What is
    there already is skipped, so an import can be repeated. A line that is not valid is refused
    with its number, and the rest is added; the command then ends with 1.
    """
    from luludb.admin.importing import open_import
    from luludb.admin.source import open_source

    started_s = time.monotonic()
    with open_import(target.home, target.timeout_s) as running, open_source(file) as source:
        tell_of_a_wait(target.home, target.timeout_s)
        rows = tracked(
            source.rows, verb="importing", noun="rows", total=source.total, done=source.done
        )
        try:
            with closing(rows):
                running.add(rows)
        except (LuludbError, KeyboardInterrupt):
            _say_how_far(running.summary)
            raise
    if as_json:
        tables.print_json(running.summary.as_json())
    else:
        _print_summary(running.summary, time.monotonic() - started_s)
    return REFUSED if running.summary.refused else 0


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option(
    "--session", type=SESSION_ID, metavar="ID", help="Only this session and its messages."
)
@as_json
@target_options
@pass_target
def export_file(target: Target, *, file: str, session: str | None, as_json: bool) -> None:
    """Write sessions and messages as JSON lines.

    They go to FILE, or to standard output. It needs no daemon. A FILE whose name ends in .gz is
    packed. A FILE is written aside and put in its place when it is whole. With a FILE, how much
    was exported goes to standard output, with --json as JSON.
    """
    from luludb.admin.exporting import Export, open_destination
    from luludb_client.replica import Replica

    with closing(Replica(target.home, target.timeout_s)) as replica:
        running = Export(replica, session_id=session)
        rows = running.lines()
        if file == "-" and sys.stdout.isatty():
            rows = _shown(rows)
        else:
            rows = tracked(rows, verb="exporting", noun="rows")
        with closing(rows), open_destination(file) as stream:
            stream.writelines(rows)
    if running.orphans:
        say(
            f"left out {_count(running.orphans, 'message')} whose session does not exist;"
            " `sqlite3` shows them"
        )
    if file != "-" and as_json:
        tables.print_json({"sessions": running.sessions, "messages": running.messages})
    elif file != "-":
        counts = f"{_count(running.sessions, 'session')} and {_count(running.messages, 'message')}"
        tables.print_line(f"exported {counts} to {file}")


def _shown(rows: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
    """The lines for a terminal: the same values, and nothing in them that acts on it."""
    with closing(rows):
        for row in rows:
            yield json_shown(row.decode().removesuffix("\n")).encode() + b"\n"


def _print_summary(summary: Summary, elapsed_s: float) -> None:
    tables.print_line(f"{_added(summary)} in {elapsed_s:.1f} s")
    if summary.skipped:
        tables.print_line(f"skipped {_count(summary.skipped, 'row')}: there already, and the same")
    if summary.conflicts:
        tables.print_line(
            f"left {_count(summary.conflicts, 'conflict')} alone: the id is there with other"
            f" columns, {_lines(summary.conflict_lines, summary.conflicts)}"
        )
    if summary.refused:
        tables.print_line(f"refused {_count(len(summary.refused), 'line')}:")
        for refusal in summary.refused[:LINES_SHOWN_MAX]:
            tables.print_line(f"  line {refusal.line}: {refusal.code}: {refusal.message}")
        if len(summary.refused) > LINES_SHOWN_MAX:
            more = len(summary.refused) - LINES_SHOWN_MAX
            tables.print_line(f"  and {more:,} more; --json lists them all")


def _say_how_far(summary: Summary) -> None:
    say(
        f"the import ended behind line {summary.line}: {_added(summary)},"
        f" skipped {summary.skipped:,}, conflicts {summary.conflicts:,},"
        f" refused {len(summary.refused):,}; it can be repeated and then goes on from there"
    )


def _added(summary: Summary) -> str:
    sessions = _count(summary.sessions_added, "session")
    return f"added {sessions} and {_count(summary.messages_added, 'message')}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _lines(shown: Sequence[int], count: int) -> str:
    listed = ", ".join(str(line) for line in shown)
    more = f" and {count - len(shown):,} more" if count > len(shown) else ""
    return f"{'line' if count == 1 else 'lines'} {listed}{more}"
