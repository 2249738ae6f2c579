"""`luludb` without a command: in five lines, what is going on here and what to type next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from luludb import __version__
from luludb.cli import tables
from luludb.cli.quantities import ago_text, bytes_text, duration_text
from luludb.cli.texts import one_line
from luludb.limits import FACE_MESSAGES_COUNTED_MAX

if TYPE_CHECKING:
    from luludb.admin.overview import Contents, Overview
    from luludb.cli.options import Target

_NAME_CHARACTERS_SHOWN = 30


def show_face(target: Target) -> None:
    """Print the five lines. It needs no daemon and no database, and changes nothing."""
    from luludb.admin.overview import look_around
    from luludb.cli.figures import look_at_disk

    found = look_around(target.named_home)
    database_bytes = look_at_disk(target.named_home).database_bytes
    size = "" if database_bytes is None else f" ({bytes_text(database_bytes)})"
    flag = "" if target.home_path is None else f" --home {shlex.quote(target.home_path)}"
    tables.print_labelled(
        [
            ("luludb", f"{__version__}: {daemon_text(found)}"),
            ("home", f"{target.named_home.path}{size}"),
            ("sessions", sessions_text(found)),
            ("messages", messages_text(found.contents)),
            ("next", "   ".join(f"luludb {word}{flag}" for word in next_commands(found))),
        ]
    )


def daemon_text(found: Overview) -> str:
    """Whether a daemon runs."""
    if found.pid is not None:
        return f"the daemon has been running for {duration_text(found.uptime_s)} (pid {found.pid})"
    if found.has_failed:
        return "no daemon runs: the last one stopped because storage failed"
    if found.silent_pid is not None:
        return f"no daemon answers; the last one was pid {found.silent_pid}"
    if found.unreadable is not None:
        return "no daemon answers"
    return "no daemon runs"


def sessions_text(found: Overview) -> str:
    """How many sessions there are, or why that is not known."""
    if found.is_missing:
        return "none: there is no database yet; the daemon makes it"
    if found.contents is None:
        return one_line(f"not known: {found.unreadable}")
    return f"{found.contents.sessions:,}, {found.contents.running:,} of them running"


def messages_text(contents: Contents | None) -> str:
    """How many messages there are, and the last change."""
    if contents is None:
        return "-"
    count = f"{contents.messages:,}"
    if contents.messages >= FACE_MESSAGES_COUNTED_MAX:
        count = f"{count} or more"
    if contents.last_change is None:
        return f"{count}; no change yet"
    when = ago_text(contents.last_change[4])
    name = contents.last_session
    if name is None:
        return f"{count}; last change {when}, in a session that is gone"
    shown = name[:_NAME_CHARACTERS_SHOWN] + "…" * (len(name) > _NAME_CHARACTERS_SHOWN)
    return f"{count}; last change {when} in {shown}"


def next_commands(found: Overview) -> tuple[str, ...]:
    """What to type next, without `luludb`."""
    if found.has_failed and found.pid is None:
        return ("doctor", "start")
    if found.pid is None:
        is_clear = found.silent_pid is None and found.unreadable is None
        return ("start",) if is_clear else ("start", "doctor")
    if found.contents is None:
        return ("doctor",)
    if found.contents.sessions == 0:
        return ("session create NAME",)
    return ("tail --follow", "top")
