"""`luludb prune`: old sessions deleted, in small pieces and only when asked twice."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from luludb.cli import tables
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.progress import steps_shown
from luludb.cli.sessions import print_table
from luludb.cli.waiting import tell_of_a_wait
from luludb.errors import LuludbError
from luludb.limits import PRUNE_AGE_DAYS_MAX, SESSIONS_SHOWN_MAX

if TYPE_CHECKING:
    from luludb.admin.choosing import Chosen
    from luludb.admin.prune import Extent, Pruned

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _age(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """The time that a text such as `30d` tells."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([mhdw])", value)
    age = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if age is None or age > timedelta(days=PRUNE_AGE_DAYS_MAX):
        raise click.BadParameter(
            f"{value!r}; allowed is a number with m, h, d or w (minutes, hours, days, weeks), as"
            f" 30d, of {PRUNE_AGE_DAYS_MAX} days at the most"
        )
    return age


@click.command
@click.option(
    "--older-than",
    callback=_age,
    metavar="AGE",
    help="Not used for so long, as 30d, 12h or 2w: neither created, updated nor appended to since.",
)
@click.option(
    "--status", "statuses", multiple=True, help="With this status. Several: any one of them."
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    metavar="N",
    help="Not among the newest N sessions of their working directory.",
)
@click.option("--yes", is_flag=True, help="Delete them. Without it they are only shown.")
@as_json
@target_options
@pass_target
def prune(
    target: Target,
    *,
    older_than: timedelta | None,
    statuses: Sequence[str],
    keep: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete old sessions with their messages.

    Give at least one of --older-than, --status and --keep; a session goes if all that are given
    fit. Without --yes nothing is deleted. One that is changed or appended to meanwhile is left
    alone. It works in small pieces, so that nobody waits for it, and can be ended and repeated.
    """
    if older_than is None and not statuses and keep is None:
        raise click.UsageError("say which sessions: give --older-than, --status or --keep")
    from luludb.admin.choosing import Criteria, choose, time_before_now
    from luludb.admin.prune import measure, open_prune
    from luludb_client.replica import Replica

    criteria = Criteria(
        None if older_than is None else time_before_now(older_than), statuses or None, keep
    )
    with closing(Replica(target.home, target.timeout_s)) as replica, steps_shown() as show:
        chosen = choose(replica, criteria, show)
        extent = None if yes else measure(replica, chosen, show)
    if extent is not None:
        _print_plan(chosen, extent, as_json=as_json)
        return
    tell_of_a_wait(target.home, target.timeout_s)
    started_s = time.monotonic()
    with open_prune(target.home, target.timeout_s) as running:
        try:
            with steps_shown() as show:
                running.delete(chosen, show)
        except (LuludbError, KeyboardInterrupt):
            say(f"the prune ended early: {_deleted(running.pruned)}; run it again to go on")
            raise
    _print_pruned(running.pruned, time.monotonic() - started_s, as_json=as_json)


def _print_plan(chosen: Sequence[Chosen], extent: Extent, *, as_json: bool) -> None:
    if as_json:
        ids = [each.session.id for each in chosen]
        tables.print_json(
            {
                "applied": False,
                "sessions": extent.sessions,
                "messages": extent.messages,
                "content_bytes": extent.content_bytes,
                "session_ids": ids,
            }
        )
        return
    if not chosen:
        tables.print_line("no session fits")
        return
    sessions = _count(extent.sessions, "session")
    tables.print_line(
        f"would delete {sessions} and {_count(extent.messages, 'message')},"
        f" about {_megabytes(extent.content_bytes)}"
    )
    if tables.is_terminal():
        print_table([each.session for each in chosen[:SESSIONS_SHOWN_MAX]])
        if len(chosen) > SESSIONS_SHOWN_MAX:
            tables.print_line(f"and {len(chosen) - SESSIONS_SHOWN_MAX:,} more")
    again = shlex.join(["luludb", *sys.argv[1:], "--yes"])
    tables.print_line(f"nothing was deleted; to delete them: {again}")


def _print_pruned(pruned: Pruned, elapsed_s: float, *, as_json: bool) -> None:
    if as_json:
        tables.print_json(
            {
                "applied": True,
                "sessions": pruned.sessions,
                "messages": pruned.messages,
                "left_alone": pruned.left_alone,
            }
        )
        return
    tables.print_line(f"{_deleted(pruned)} in {elapsed_s:.1f} s")
    if pruned.left_alone:
        tables.print_line(
            f"left alone {_count(pruned.left_alone, 'session')}: changed or deleted meanwhile"
        )
    if pruned.messages:
        tables.print_line("luludb compact gives the space back to the disk")


def _deleted(pruned: Pruned) -> str:
    sessions = _count(pruned.sessions, "session")
    return f"deleted {sessions} and {_count(pruned.messages, 'message')}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:,.1f} MB"
