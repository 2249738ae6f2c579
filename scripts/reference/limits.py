"""The bounds of luludb/limits.py, with the comments beside them, as Markdown."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from luludb import limits

MET = {
    "FRAME_BYTES_MAX": "A request, and so a message's content. Larger ones are `too_large`.",
    "TRANSPORT_FRAME_BYTES_MAX": "Above this the connection is dropped without an answer.",
    "FRAME_COMMANDS_MAX": "Commands in one frame, those in transactions counted: `too_large`.",
    "TRANSACTION_COMMANDS_MAX": "Commands in one transaction: `invalid`.",
    "PIPELINE_COMMANDS_MAX": "Commands in one pipeline: `invalid`.",
    "NAME_CHARACTERS_MAX": "A session's `name` and `working_dir`, from 1: `invalid`.",
    "LABEL_CHARACTERS_MAX": "A `status` and a `role`, from 1: `invalid`.",
    "ID_CHARACTERS_MAX": "An `id`, from 1: `invalid`.",
    "INTEGER_MAX": "Integers on the wire stay at or below 2^53 - 1: `invalid`.",
    "CLIENT_ID_BYTES": "A client_id has exactly as many: `invalid`.",
    "REPLY_BYTES_MAX": "A command's reply; a command with a longer one is undone: `too_large`.",
    "PIPELINE_REPLY_BYTES_MAX": "A pipeline's reply: `too_large`.",
    "WINDOW_COMMANDS_MAX": "Commands of one client under way: `overloaded`. `submit` waits.",
    "WINDOW_REPLY_BYTES_MAX": "Replies kept for one client: `overloaded`.",
    "CLIENT_BYTES_MAX": "Commands in line in one client; `submit` waits above that.",
    "LOCK_WAIT_MS_MAX": "The daemon's wait for another program's lock, then `busy`.",
    "CLIENT_TIMEOUT_S": "A client's patience by default, `timeout_s` and `--timeout`.",
    "CLIENT_TIMEOUT_S_MAX": "The greatest `timeout_s`.",
    "WATCH_LOOK_S": "A change is seen after that time at the latest, when nothing rings.",
    "WATCH_FAILING_S_MAX": "Then a watcher that cannot read raises why.",
    "READ_BUSY_TIMEOUT_MS": "A read's wait for a lock at the most, such as that of a recovery.",
    "SOCKET_PATH_BYTES_MAX_LINUX": "The path of a socket; where the home's is longer, the sockets"
    " lie in a temporary directory.",
    "SOCKET_PATH_BYTES_MAX_MACOS": "The same on macOS.",
    "IMPORT_LINE_BYTES_MAX": "A line of an import; longer ones are refused.",
    "LINES_SHOWN_MAX": "Refused lines that `import` prints; `--json` has them all.",
    "CHANGES_SHOWN": "Changes that `tail` shows of those that are there.",
    "TOP_LOOK_S": "`top` looks once in that time.",
    "TOP_WINDOW_S": "The time in which `top` looks for the busiest.",
    "COMPLETED_SESSIONS_MAX": "Sessions that the shell's completion offers.",
}
"""The limits that a user can meet, and what comes of it."""


class Limit(NamedTuple):
    """A constant of limits.py: the heading above it, its name, its value, and its comment."""

    heading: str
    name: str
    value: float
    comment: str


def read_limits() -> list[Limit]:
    """All of them, in their order."""
    source = Path(limits.__file__).read_text(encoding="utf-8")
    lines = source.splitlines()
    heading = ""
    found = []
    at = 0
    for node in ast.parse(source).body:
        headings = [line[2:] for line in lines[at : node.lineno - 1] if line.startswith("# ")]
        heading = " ".join(headings) or heading
        at = node.end_lineno or node.lineno
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comments = re.findall(r"  # (.*)", "\n".join(lines[node.lineno - 1 : at]))
            name = node.target.id
            found.append(Limit(heading, name, getattr(limits, name), " ".join(comments)))
    return found


def limit_lines() -> Iterator[str]:
    """The limits that a user can meet, and then all the others."""
    found = read_limits()
    yield "| limit | | what comes of it |"
    yield "|---|---|---|"
    for limit in found:
        if limit.name in MET:
            yield f"| `{limit.name}` | {_value(limit)} | {MET[limit.name]} |"
    yield ""
    yield "The others bound queues, waits, batches and pages inside, and need no attention."
    heading = ""
    for limit in found:
        if limit.name in MET:
            continue
        if limit.heading != heading:
            heading = limit.heading
            yield from ("", heading, "", "| limit | | |", "|---|---|---|")
        yield f"| `{limit.name}` | {_value(limit)} | {limit.comment} |"
    yield ""


def _value(limit: Limit) -> str:
    words = limit.name.split("_")
    if "BYTES" in words:
        return _bytes(limit.value)
    text = f"{limit.value:,}" if isinstance(limit.value, int) else f"{limit.value:,g}"
    units = [unit for unit in ("MS", "S") if unit in words]
    return f"{text} {units[0].lower()}" if units else text


def _bytes(value: float) -> str:
    for unit, unit_bytes in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= unit_bytes and value % unit_bytes == 0:
            return f"{value // unit_bytes:,.0f} {unit}"
    return f"{value:,} bytes"
