"""Puts docs/reference.md together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from luludb.cli.root import luludb
from scripts.reference.commands import EVERYWHERE, command_lines, option_row, walk
from scripts.reference.limits import limit_lines
from scripts.reference.words import error_lines, exit_lines, figure_lines, setting_lines

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "reference.md"


def page_text() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield from ("# Reference", "")
    yield "Written by `scripts/reference/run` from the program itself; do not change it by hand."
    yield from ("", "## Commands", "")
    yield "Every command has these options, and `--help`. Of the levels of a command line the last"
    yield "one wins: `luludb --home A session list --home B` looks at B."
    yield from ("", "| option | |", "|---|---|")
    for parameter in luludb.params:
        if isinstance(parameter, click.Option) and parameter.name in EVERYWHERE:
            yield option_row(parameter)
    yield ""
    for path, command in walk(luludb, "luludb"):
        yield from command_lines(path, command)
    yield from ("## Exit codes", "")
    yield from exit_lines()
    yield from ("## Settings", "")
    yield "Of the daemon. A flag of `serve` beats the environment, which beats the file"
    yield from ("`luludb.toml` in the home, which beats the default.", "")
    yield from setting_lines()
    yield from ("## Status figures", "")
    yield "What `luludb status --json` and `Client.status()` give. Counters begin at the start of"
    yield "the daemon, and percentiles are those of the last 60 seconds. `luludb status --metrics`"
    yield "gives the same as OpenMetrics text, in seconds and bytes and with names that begin with"
    yield from ("`luludb_`.", "")
    yield from figure_lines()
    yield from ("## Errors", "")
    yield "Codes on the wire, and the exceptions of the Python client, with the same `.code`."
    yield ""
    yield from error_lines()
    yield from ("## Limits", "")
    yield from limit_lines()


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")
    click.echo(f"written: {PAGE.name}")


if __name__ == "__main__":
    main()
