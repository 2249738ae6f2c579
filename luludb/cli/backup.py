"""`luludb backup` and `luludb restore`: through apsw, with no client beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from luludb.cli import tables
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.progress import steps_shown

if TYPE_CHECKING:
    from luludb.admin.copying import Contents

_NICENESS: Final = 10  # a backup takes the processor time that nobody else wants
_UMASK: Final = 0o077


@click.command
@click.argument("destination", metavar="DEST", type=click.Path())
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the backups that this command named in the directory DEST, keep the newest N and"
    " remove the others.",
)
@as_json
@target_options
@pass_target
def backup(target: Target, *, destination: str, keep: int | None, as_json: bool) -> None:
    """Copy the database to one file, while everyone writes. Needs no daemon.

    DEST is a file, or a directory, in which the file is named by the time in UTC. The file is
    written aside, checked, and put in its place when it is whole and on the disk. Give each home
    a directory of its own: --keep cannot tell their backups apart.
    """
    if keep is not None and not os.path.isdir(destination):  # noqa: PTH112  # as the shell sees it
        raise click.UsageError(f"--keep goes with a directory, and {destination} is none")
    from luludb.admin.backup import back_up

    os.umask(_UMASK)
    os.nice(_NICENESS)
    with steps_shown() as show:
        made = back_up(target.home, destination, keep=keep, show=show)
    if as_json:
        removed = [str(path) for path in made.removed]
        found = {"file": str(made.file), "bytes": made.file_bytes, **_as_json(made.contents)}
        tables.print_json({**found, "removed": removed})
        return
    tables.print_line(f"backed up {_counts(made.contents)} to {made.file}")
    for path in made.removed:
        tables.print_line(f"removed {path}")


@click.command
@click.argument("source", metavar="SRC", type=click.Path(dir_okay=False))
@as_json
@target_options
@pass_target
def restore(target: Target, *, source: str, as_json: bool) -> None:
    """Put a backup in the place of the database.

    Stop the daemon first. SRC is what `luludb backup` made, or a lulu.db of another program. It is
    checked before anything is changed. The database as it was is saved in the home, in a file that
    this command names. Clients that knew it end with DataLoss at their next write.
    """
    from luludb.admin.restore import restore as restore_home

    os.umask(_UMASK)
    with steps_shown() as show:
        done = restore_home(target.home, source, show=show, tell=say)
    saved = None if done.saved is None else str(done.saved)
    if as_json:
        found = {"source": source, "saved": saved, "was_damaged": done.was_damaged}
        tables.print_json({**found, **_as_json(done.contents)})
        return
    tables.print_line(f"restored {_counts(done.contents)} from {source}")
    if saved is not None:
        how = ", damaged as it was" if done.was_damaged else ""
        tables.print_line(f"the old database is in {saved}{how}")


def _as_json(contents: Contents) -> dict[str, Any]:
    return {
        "sessions": contents.sessions,
        "messages": contents.messages,
        "last_rev": contents.last_rev,
        "database_id": contents.database_id,
    }


def _counts(contents: Contents) -> str:
    counted = ((contents.sessions, "session"), (contents.messages, "message"))
    return " and ".join(
        f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s" for count, noun in counted
    )
