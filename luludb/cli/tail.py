"""`luludb tail`: the newest changes, and those that come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from luludb.cli import tables
from luludb.cli.completing import SESSION_ID
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.texts import one_line
from luludb.errors import DaemonUnavailable, NotFound
from luludb.limits import CHANGES_SHOWN

if TYPE_CHECKING:
    from luludb.model import Change
    from luludb_client import Client


@click.command
@click.argument("session", type=SESSION_ID, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with those that come, until interrupted.")
@as_json
@target_options
@pass_target
def tail(target: Target, *, session: str | None, follow: bool, as_json: bool) -> None:
    """Show the ten newest changes, of SESSION or of all. Needs no daemon.

    A change is a command that was applied, such as a message that was appended. On a terminal
    each has its message beside it. Elsewhere: one line each, parted by tabs: rev, time, op,
    session and message. With --follow, --json prints one object a line. It goes on across
    restarts of the daemon.
    """
    with target.client() as client:
        if follow:
            for change in _followed(target, client, session):
                _print_change(client, change, as_json=as_json)
                sys.stdout.flush()
            return
        found = _newest(target, session)
        if not found and session is not None and client.get_session(session) is None:
            raise NotFound(f"there is no session {session}, and no change of one is kept")
        if as_json:
            tables.print_json_list(found)
        else:
            for change in found:
                _print_change(client, change, as_json=False)


def _followed(target: Target, client: Client, session: str | None) -> Iterator[Change]:
    """The newest changes and then those that come, none twice and none left out."""
    # The watch comes first: what is committed after it comes from it, whether it is among the
    # newest ones or not.
    with closing(client.watch(session)) as watch:
        shown_rev = 0
        try:
            for change in _newest(target, session):
                yield change
                shown_rev = change.rev
        except DaemonUnavailable as error:
            # The watch waits for a database, for ever; who sees nothing should know what for.
            say(f"{error.message}; waiting for it")
        for change in watch:
            if change.rev > shown_rev:
                yield change


def _newest(target: Target, session: str | None) -> list[Change]:
    from luludb_client.replica import Replica

    with closing(Replica(target.home, target.timeout_s)) as replica:
        return replica.newest_changes(session, CHANGES_SHOWN)


def _print_change(client: Client, change: Change, *, as_json: bool) -> None:
    if as_json:
        tables.print_json(asdict(change))
    elif tables.is_terminal():
        _print_for_a_person(client, change)
    else:
        message_id = change.message_id or ""
        tables.print_line(str(change.rev), change.at, change.op, change.session_id, message_id)


def _print_for_a_person(client: Client, change: Change) -> None:
    from rich.text import Text

    console = tables.console()
    moment = change.at[:19].replace("T", " ")
    line = Text.assemble(
        (f"{moment}  ", "dim"), (change.op, "bold"), (f"  {one_line(change.session_id)}", "dim")
    )
    console.print(line, overflow="fold")
    message = None if change.message_id is None else client.get_message(change.message_id)
    if message is not None:
        # More than a line's worth is cut before it is looked at: a message may have megabytes.
        content = one_line(message.content[: console.width])
        text = Text(f"  {one_line(message.role)}: {content}")
        console.print(text, no_wrap=True, overflow="ellipsis")
