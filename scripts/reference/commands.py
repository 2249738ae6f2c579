"""The commands of the command line, as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

EVERYWHERE = ("home", "timeout", "help")
"""Options of every command, which are told of once."""


def walk(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, a group before what is in it."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            if not inner.hidden:
                yield from walk(inner, *path, name)


def command_lines(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """One command: its heading, how it is called, what it does, and its options."""
    yield f"### {' '.join(path)}"
    yield ""
    yield "```text"
    yield usage(path, command)
    yield "```"
    yield ""
    yield from _paragraphs(command.help or "")
    options = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in EVERYWHERE
    ]
    if options:
        yield "| option | |"
        yield "|---|---|"
        for option in options:
            yield option_row(option)
        yield ""


def usage(path: tuple[str, ...], command: click.Command) -> str:
    """The words of a call."""
    words = [*path, "[OPTIONS]"]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            word = parameter.metavar or str(parameter.name).upper()
            word = word if parameter.nargs == 1 else f"{word}…"
            words.append(word if parameter.required else f"[{word}]")
    if isinstance(command, click.Group):
        words.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    return " ".join(words)


def option_row(option: click.Option) -> str:
    """An option as a row of a table: its names, its value, and what it does."""
    names = ", ".join(
        f"`{name}{_value(option)}`" for name in (*option.opts, *option.secondary_opts)
    )
    text = " ".join((option.help or "").split())
    if option.show_default and option.default is not None and "[default:" not in text:
        text = f"{text}  [default: {option.default}]"
    # Square brackets are links in Markdown, and bars end a cell.
    text = re.sub(r"\s*\[default: (.*)\]$", r" Default: `\1`.", text)
    return f"| {names} | {text} |"


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        # A bar would end the cell, within backquotes too.
        return " " + "\\|".join(str(choice) for choice in option.type.choices)
    kind = "N" if isinstance(option.type, click.types.IntParamType) else option.type.name.upper()
    return f" {option.metavar or kind}"


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; one that click must not fill anew stays as it is."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```text", *paragraph.splitlines()[1:], "```", "")
        else:
            yield from (*paragraph.splitlines(), "")
