"""`luludb message`: append and list messages."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from luludb.cli import tables
from luludb.cli.completing import SESSION_ID
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.texts import one_line, several_lines
from luludb.errors import NotFound

if TYPE_CHECKING:
    from luludb.model import Message


@click.group
@target_options
def message() -> None:
    """Append and list messages."""


@message.command
@click.argument("session", type=SESSION_ID)
@click.argument("role")
@click.argument("content", required=False)
@click.option("--id", help="An id of your own.  [default: a new UUIDv7]")
@as_json
@target_options
@pass_target
def append(
    target: Target, *, session: str, role: str, content: str | None, id: str | None, as_json: bool
) -> None:
    """Append a message to SESSION and print its id.

    CONTENT is read from standard input if it is left out: UTF-8, to the end, kept to the last
    byte, the line feed at the end too. Content that begins with a dash goes behind `--`.
    """
    text = _standard_input() if content is None else content
    with target.writer() as client:
        appended = client.append_message(session, role, text, id=id)
    if as_json:
        tables.print_json(asdict(appended))
    else:
        tables.print_line(appended.id)


@message.command("list")
@click.argument("session", type=SESSION_ID)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@as_json
@target_options
@pass_target
def list_messages(target: Target, *, session: str, last: int | None, as_json: bool) -> None:
    r"""List the messages of SESSION in append order. Needs no daemon.

    Elsewhere than on a terminal: one line each, parted by tabs: id, timestamp, role, content,
    with control characters written out, as \n.
    """
    with target.client() as client:
        if client.get_session(session) is None:
            raise NotFound(f"there is no session {session}")
        found = client.list_messages(session, last=last)
        if as_json:
            tables.print_json_list(found)
        elif tables.is_terminal():
            _print_messages(found)
        else:
            for item in found:
                tables.print_line(item.id, item.timestamp, item.role, item.content)


def _standard_input() -> str:
    if sys.stdin.isatty():
        say("the content is what you type now; Ctrl-D on an empty line ends it")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"standard input is not UTF-8: {error.reason} at byte {error.start};"
            " a message's content is text"
        ) from error


def _print_messages(found: Iterable[Message]) -> None:
    from rich.text import Text

    console = tables.console()
    for item in found:
        moment = item.timestamp[:19].replace("T", " ")
        heading = Text.assemble(
            (one_line(item.role), "bold"), (f"  {one_line(moment)}  {one_line(item.id)}", "dim")
        )
        console.print(heading, overflow="fold")
        console.print(Text(several_lines(item.content)), overflow="fold")
        console.print()
