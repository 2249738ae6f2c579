"""`luludb config`: each setting, where it comes from, and what it may be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import click

from luludb.cli import tables
from luludb.cli.exits import REFUSED, say
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.texts import one_line
from luludb.settings import ALLOWED, Explained, Settings, explain_settings, variable_of

_DEFAULTS: Final = {field.name: field.default for field in fields(Settings)}


@click.command
@as_json
@target_options
@pass_target
def config(target: Target, *, as_json: bool) -> int:
    """Show each setting, its value, and where that comes from.

    It says what a daemon that is started here would run with. A value that is not allowed is shown
    with the reason, and the command then ends with 1.
    """
    home = target.home
    settings, problems = explain_settings(home, {})
    has_file = home.settings.exists()
    if as_json:
        tables.print_json(
            {
                "home": str(home.path),
                "home_from": _home_from(target),
                "file": str(home.settings),
                "file_exists": has_file,
                "settings": [_as_json(each) for each in settings],
                "problems": problems,
            }
        )
    elif tables.is_terminal():
        there = "" if has_file else "  (not there, which is fine)"
        tables.print_pairs(
            [
                ("home", f"{home.path}  ({_home_from(target)})"),
                ("file", f"{home.settings}{there}"),
            ]
        )
        _print_for_a_person(settings)
    else:
        for each in settings:
            value = "" if each.problem else str(each.value)
            tables.print_line(each.name, value, each.source, variable_of(each.name))
    for problem in problems:
        say(problem)
    return REFUSED if problems else 0


def _home_from(target: Target) -> str:
    if target.home_path is not None:
        return "--home"
    return "LULUDB_HOME" if os.environ.get("LULUDB_HOME") else "the user's data directory"


def _as_json(each: Explained) -> dict[str, Any]:
    return {
        "name": each.name,
        "value": each.value,
        "source": each.source,
        "overrides": list(each.overrides),
        "problem": each.problem,
        "variable": variable_of(each.name),
        "allowed": ALLOWED[each.name],
        "default": _DEFAULTS[each.name],
    }


def _print_for_a_person(settings: Sequence[Explained]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("SETTING", "VALUE", "FROM", "ALLOWED", style="bold")
    for each in settings:
        value = Text("not allowed", style="red") if each.problem else Text(str(each.value))
        source = Text(one_line(each.source), style="dim" if each.source == "default" else "")
        grid.add_row(Text(each.name), value, source, Text(ALLOWED[each.name], style="dim"))
    console = tables.console()
    console.print()
    console.print(grid)
    console.print()
    names = "the environment variable of each is LULUDB_ and its name in capitals"
    console.print(Text(names, style="dim"))
