"""What a client of the history checker records of its requests and replies.

A history is a file of JSON lines, each written by one call of the operating system, so that it
holds what had happened even where its client was killed:

    ["q", number, op, args]       a command, in the order in which the client sent them
    ["a", number, status, body]   a reply; the same command may have several
    ["e", number, code]           the client was told something that is no outcome
    ["end"]                       the client came to its end
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Args = dict[str, Any]
Row = dict[str, Any]


@dataclass(slots=True)
class Sent:
    """One command as its client saw it. `singles` are its (op, args): several in a transaction."""

    client: int
    number: int
    op: str
    args: Args
    answers: list[tuple[int, Row]] = field(default_factory=list)
    revs: list[int] = field(default_factory=list)

    @property
    def singles(self) -> list[tuple[str, Args]]:
        if self.op == "transaction":
            return [(op, args) for op, args in self.args["commands"]]
        return [(self.op, self.args)]

    def __str__(self) -> str:
        return f"command {self.number} of client {self.client}, {self.op}"


@dataclass(slots=True)
class History:
    """What one client recorded."""

    client: int
    commands: list[Sent] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    is_ended: bool = False


class Recorder:
    """Appends to one history; several threads may, since each line is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, *line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_history(path: Path, client: int) -> History:
    """The history at `path`. What a killed client left of its last line is not counted."""
    history = History(client)
    by_number: dict[int, Sent] = {}
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            match json.loads(line):
                case ["q", number, op, args]:
                    by_number[number] = Sent(client, number, op, args)
                    history.commands.append(by_number[number])
                case ["a", number, status, body]:
                    by_number[number].answers.append((status, body))
                case ["e", number, code]:
                    history.errors[f"{code} (of command {number})" if number else code] += 1
                case ["end"]:
                    history.is_ended = True
    return history


def bounds_of(history: History, last_rev: int) -> list[tuple[Sent, tuple[int, int]]]:
    """For each command the last rev of those before it and the first rev of those behind it."""
    behind = last_rev + 1
    bounds = []
    for sent in reversed(history.commands):
        bounds.append((sent, behind))
        behind = min([behind, *sent.revs])
    after = 0
    found = []
    for sent, before in reversed(bounds):
        found.append((sent, (after, before)))
        after = max([after, *sent.revs])
    return found
