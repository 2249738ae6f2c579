"""Results on standard output: tables on a terminal, tab-separated lines elsewhere, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from luludb.cli.texts import json_text, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from luludb.model import Change, Message, Session


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def console() -> Console:
    """A rich console on standard output, to which only `Text` is given: no text is markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def print_line(*values: str) -> None:
    """Print `values` as one line, parted by tabs, with control characters written out."""
    sys.stdout.write("\t".join(one_line(value) for value in values) + "\n")


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON."""
    sys.stdout.write(json_text(value) + "\n")


def print_json_list(items: Iterable[Session | Message | Change]) -> None:
    """Print rows as one JSON array, an element a line, while they come."""
    separator = "[\n"
    for item in items:
        sys.stdout.write(separator + json_text(asdict(item)))
        separator = ",\n"
    sys.stdout.write("[]\n" if separator == "[\n" else "\n]\n")


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line: aligned on a terminal, parted by a tab elsewhere."""
    if not is_terminal():
        for name, value in pairs:
            print_line(name, value)
        return
    print_labelled(pairs)


def print_labelled(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values for a person, one pair a line, the values below each other."""
    if not is_terminal():
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            print_line(f"{name:<{width}}  {one_line(value)}")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(name, style="dim"), Text(one_line(value)))
    console().print(grid)
