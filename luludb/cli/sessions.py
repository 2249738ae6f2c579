"""`luludb session`: create, list, show, update and delete sessions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from luludb.cli import tables
from luludb.cli.completing import SESSION_ID
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.texts import one_line
from luludb.errors import NotFound
from luludb.limits import NAME_CHARACTERS_SHOWN_MIN

if TYPE_CHECKING:
    from luludb.model import Session

_LISTED_BY_DEFAULT = 100
_GAP = 2


@click.group
@target_options
def session() -> None:
    """Create, list, show, update and delete sessions."""


@session.command
@click.argument("name")
@click.option(
    "--working-dir",
    default=".",
    show_default=True,
    metavar="DIRECTORY",
    help="Where the session works; it is recorded as an absolute path.",
)
@click.option("--id", help="An id of your own.  [default: a new UUIDv7]")
@click.option("--status", default="created", show_default=True, help="Any word of your own.")
@as_json
@target_options
@pass_target
def create(
    target: Target, *, name: str, working_dir: str, id: str | None, status: str, as_json: bool
) -> None:
    """Create a session and print its id."""
    with target.writer() as client:
        created = client.create_session(name, _absolute(working_dir), id=id, status=status)
    if as_json:
        tables.print_json(asdict(created))
    else:
        tables.print_line(created.id)


@session.command("list")
@click.option("--status", help="Only sessions with this status.")
@click.option("--working-dir", metavar="DIRECTORY", help="Only sessions that work there.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_LISTED_BY_DEFAULT,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@click.option("--after", type=SESSION_ID, metavar="ID", help="Go on behind this session.")
@as_json
@target_options
@pass_target
def list_sessions(
    target: Target,
    *,
    status: str | None,
    working_dir: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """List sessions, the newest first. Needs no daemon.

    Elsewhere than on a terminal: one line each, parted by tabs: id, status, created_at,
    updated_at, name, working_dir.
    """
    with target.client() as client:
        found = client.list_sessions(
            status=status,
            working_dir=None if working_dir is None else _absolute(working_dir),
            limit=limit,
            after=after,
        )
    if as_json:
        tables.print_json_list(found)
    elif tables.is_terminal() and not found:
        click.echo("no session" if status is None and working_dir is None else "no session fits")
    elif tables.is_terminal():
        print_table(found)
        if len(found) == limit:
            click.echo(f"There may be more: --after {one_line(found[-1].id)}", err=True)
    else:
        for item in found:
            tables.print_line(
                item.id,
                item.status,
                item.created_at,
                item.updated_at,
                item.name,
                item.working_dir,
            )


@session.command
@click.argument("id", type=SESSION_ID)
@as_json
@target_options
@pass_target
def show(target: Target, *, id: str, as_json: bool) -> None:
    """Show one session. Needs no daemon."""
    with target.client() as client:
        found = client.get_session(id)
    if found is None:
        raise NotFound(f"there is no session {id}")
    _print_session(found, as_json=as_json)


@session.command
@click.argument("id", type=SESSION_ID)
@click.option("--name", help="The new name.")
@click.option("--status", help="The new status.")
@click.option("--working-dir", metavar="DIRECTORY", help="Where it works from now on.")
@as_json
@target_options
@pass_target
def update(
    target: Target,
    *,
    id: str,
    name: str | None,
    status: str | None,
    working_dir: str | None,
    as_json: bool,
) -> None:
    """Change a session and print it as it is then."""
    if name is None and status is None and working_dir is None:
        raise click.UsageError("nothing to change: give --name, --status or --working-dir")
    with target.writer() as client:
        updated = client.update_session(
            id,
            name=name,
            status=status,
            working_dir=None if working_dir is None else _absolute(working_dir),
        )
    _print_session(updated, as_json=as_json)


@session.command
@click.argument("id", type=SESSION_ID)
@as_json
@target_options
@pass_target
def delete(target: Target, *, id: str, as_json: bool) -> None:
    """Delete a session with its messages.

    It says how many messages there were.
    """
    with target.writer() as client:
        deleted_messages = client.delete_session(id)
    if as_json:
        tables.print_json({"deleted_messages": deleted_messages})
    else:
        noun = "message" if deleted_messages == 1 else "messages"
        tables.print_line(f"deleted, with {deleted_messages} {noun}")


def _absolute(directory: str) -> str:
    # Nothing is no directory, also where a variable in a script was empty: it is refused as such.
    return os.path.abspath(directory) if directory else directory


def _print_session(item: Session, *, as_json: bool) -> None:
    if as_json:
        tables.print_json(asdict(item))
    else:
        tables.print_pairs(list(asdict(item).items()))


def print_table(found: Sequence[Session]) -> None:
    """A table that fits 80 columns. An id is what people copy: it is folded, never shortened."""
    from rich.table import Table
    from rich.text import Text

    console = tables.console()
    rows = [
        (item.id, item.status, item.created_at[:16].replace("T", " "), item.name) for item in found
    ]
    texts = [tuple(Text(one_line(value)) for value in row) for row in rows]
    id_width, status_width, created_width = (
        min(width_max, max((row[column].cell_len for row in texts), default=width_max))
        for column, width_max in enumerate((36, 12, 16))
    )
    taken = id_width + status_width + created_width + 3 * _GAP
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(width=id_width, overflow="fold")
    table.add_column(width=status_width, overflow="ellipsis", no_wrap=True)
    table.add_column(width=created_width, overflow="ellipsis", no_wrap=True)
    table.add_column(
        width=max(console.width - taken, NAME_CHARACTERS_SHOWN_MIN),
        overflow="ellipsis",
        no_wrap=True,
    )
    table.add_row("ID", "STATUS", "CREATED", "NAME", style="bold")
    for row in texts:
        table.add_row(*row)
    console.print(table)
