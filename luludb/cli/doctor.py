"""`luludb doctor`: what is wrong with a home, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from luludb.cli import tables
from luludb.cli.exits import REFUSED
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.progress import steps_shown
from luludb.cli.texts import one_line

if TYPE_CHECKING:
    from luludb.admin.doctor import Finding

_STYLES: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
_LEVEL_WIDTH: Final = 7
_CHECK_WIDTH: Final = 13


@click.command
@click.option("--quick", is_flag=True, help="Leave out the check of every page of the database.")
@click.option(
    "--full",
    is_flag=True,
    help="Check the indexes against the tables too, however large the database is.",
)
@as_json
@target_options
@pass_target
def doctor(target: Target, *, quick: bool, full: bool, as_json: bool) -> int:
    """Look for what is wrong, and say what to type. Changes nothing.

    It needs no daemon. It ends with 0, or with 1 where there is a warning or a problem. Without
    options every page of a database of up to 1 GiB is checked.
    """
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other: give one of them")
    from luludb.admin.doctor import examine

    check = "none" if quick else "full" if full else None
    with steps_shown() as show:
        said = examine(target.named_home, check=check, timeout_s=target.timeout_s, show=show)
    findings = [each for each in said if each.level.is_finding]
    if as_json:
        _print_json(target, said)
    elif tables.is_terminal():
        _print_for_a_person(said)
    else:
        for each in said:
            tables.print_line(each.level, each.check, each.found, each.remedy or "")
    return REFUSED if findings else 0


def _print_json(target: Target, said: Sequence[Finding]) -> None:
    findings = [asdict(each) for each in said if each.level.is_finding]
    tables.print_json(
        {
            "home": str(target.named_home.path),
            "healthy": not findings,
            "findings": findings,
            "notes": [asdict(each) for each in said if each.level == "note"],
            "passed": [asdict(each) for each in said if each.level == "ok"],
        }
    )


def _print_for_a_person(said: Sequence[Finding]) -> None:
    """What is well first and in one line each, so that what is not stands at the end."""
    from rich.padding import Padding
    from rich.text import Text

    console = tables.console()
    ordered = sorted(said, key=lambda each: tuple(_STYLES).index(each.level))
    indent = _LEVEL_WIDTH + 2
    for each in ordered:
        level = (f"{each.level:<{_LEVEL_WIDTH}}  ", _STYLES[each.level])
        if each.level == "ok":
            line = Text.assemble(level, f"{each.check:<{_CHECK_WIDTH}} {one_line(each.found)}")
            console.print(line, no_wrap=True, overflow="ellipsis")
            continue
        console.print(Text.assemble(level, (each.check, "bold")))
        console.print(Padding(Text(one_line(each.found)), (0, 0, 0, indent)))
        if each.remedy is not None:
            # On one line of its own, however long, so that it can be copied.
            command = Text.assemble(" " * indent, ("$ ", "dim"), (one_line(each.remedy), "bold"))
            console.print(command, soft_wrap=True)
    findings = sum(each.level.is_finding for each in said)
    noun = "finding" if findings == 1 else "findings"
    console.print(Text(f"{findings} {noun}" if findings else "nothing is wrong"))
