"""`luludb compact`: free pages given back to the disk, online or with the daemon stopped."""

from __future__ import annotations

import os
from typing import Final

import click

from luludb.cli import tables
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.progress import steps_shown

_UMASK: Final = 0o077


@click.command
@click.option(
    "--offline",
    is_flag=True,
    help="Write the whole database anew, with the daemon stopped. For a while it takes twice its"
    " size.",
)
@as_json
@target_options
@pass_target
def compact(target: Target, *, offline: bool, as_json: bool) -> None:
    """Give the space of what was deleted back to the disk.

    The daemon does it in small steps, while everyone reads and writes. A lulu.db that another
    program made needs --offline once.
    """
    if offline:
        _compact_offline(target, as_json=as_json)
    else:
        _compact(target, as_json=as_json)


def _compact(target: Target, *, as_json: bool) -> None:
    from luludb.admin.compact import compact as compact_home

    with steps_shown() as show:
        done = compact_home(target.home, target.timeout_s, show)
    if as_json:
        tables.print_json(
            {
                "freed_pages": done.freed_pages,
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
                "file_bytes": done.file_bytes,
            }
        )
        return
    if done.freed_pages:
        tables.print_line(_shrunk(done.bytes_before, done.bytes_after))
    else:
        tables.print_line(f"nothing to give back: {done.bytes_after:,} bytes, none of them free")
    if done.file_bytes > done.bytes_after:
        say(
            f"the file has {done.file_bytes:,} bytes until programs that read an old state of it"
            " are done; the daemon then makes it shorter"
        )


def _compact_offline(target: Target, *, as_json: bool) -> None:
    from luludb.admin.compact_offline import compact_offline

    os.umask(_UMASK)
    with steps_shown() as show:
        done = compact_offline(target.home, show=show, tell=say)
    if as_json:
        tables.print_json(
            {
                "sessions": done.contents.sessions,
                "messages": done.contents.messages,
                "bytes_before": done.bytes_before,
                "file_bytes": done.file_bytes,
            }
        )
        return
    tables.print_line(_shrunk(done.bytes_before, done.file_bytes))
    tables.print_line(
        f"every row is there, in its order: {done.contents.sessions:,} sessions,"
        f" {done.contents.messages:,} messages"
    )
    if not done.is_copied_back:
        say("a program reads an old state of the file; the daemon makes it shorter later")


def _shrunk(before: int, after: int) -> str:
    return f"{before:,} bytes before, {after:,} now"
