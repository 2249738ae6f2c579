"""`luludb top`: what happens, from second to second."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import click

from luludb.cli import tables
from luludb.cli.figures import look_at_disk
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.errors import DaemonUnavailable
from luludb.limits import TOP_ANSWER_S_MAX, TOP_LOOK_S

if TYPE_CHECKING:
    from luludb.admin.activity import Activity, Watching
    from luludb.cli.top_screen import Line

_TERMINATED: Final = 128 + signal.SIGTERM
_QUIT: Final = frozenset(b"qQ")
_CONTROL_CHARACTERS: Final = 6  # their place in what termios.tcgetattr returns


@click.command
@click.option("--once", is_flag=True, help="Look for a second, print once and end.")
@as_json
@target_options
@pass_target
def top(target: Target, *, once: bool, as_json: bool) -> None:
    """Show rates, times and who is the busiest, anew each second.

    It ends with the key q, or Ctrl-C. It goes on across restarts of the daemon. Elsewhere than on
    a terminal, with --once or --json, it looks for a second, prints once and ends.

    A client is shown by the first digits of its client_id, with the session that its last command
    changed. Percentiles are those of the last 60 seconds.
    """
    from luludb.admin.activity import Watching
    from luludb_client.replica import Replica

    with closing(Replica(target.home, TOP_ANSWER_S_MAX)) as replica:
        watching = Watching(target.home, replica)
        is_live = tables.is_terminal() and not tables.console().is_dumb_terminal
        if once or as_json or not is_live:
            _show_once(target, watching, as_json=as_json)
        else:
            _show_live(target, watching)


def _show_once(target: Target, watching: Watching, *, as_json: bool) -> None:
    watching.look(time.monotonic())
    time.sleep(TOP_LOOK_S)
    activity = watching.look(time.monotonic())
    if activity.figures is None:
        raise DaemonUnavailable(activity.unavailable)
    if as_json:
        tables.print_json(_as_json(activity))
        return
    width = tables.console().width if tables.is_terminal() else 0
    for line in _lines(target, activity, width=width, height=0, is_live=False):
        tables.print_line(line.text)


def _as_json(activity: Activity) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "per_s": {name: round(rate, 3) for name, rate in activity.per_s.items()},
        "sessions": [asdict(busy) for busy in activity.sessions],
        "clients": [asdict(busy) for busy in activity.clients],
        "figures": activity.figures,
    }


def _show_live(target: Target, watching: Watching) -> None:
    from rich.live import Live
    from rich.text import Text

    console = tables.console()
    with (
        _ended_by_sigterm(),
        _keys() as keys,
        Live(console=console, screen=True, auto_refresh=False) as live,
        _lines_end_at_the_edge(console.file),
    ):
        while True:
            # The next look comes a second after this one began, however long it takes.
            began_s = time.monotonic()
            activity = watching.look(began_s)
            width, height = console.size
            lines = _lines(target, activity, width=width, height=height, is_live=True)
            styled = (Text(line.text, "bold" if line.is_heading else "") for line in lines)
            live.update(Text("\n").join(styled), refresh=True)
            if _is_asked_to_quit(keys, began_s + TOP_LOOK_S):
                return


def _lines(
    target: Target, activity: Activity, *, width: int, height: int, is_live: bool
) -> list[Line]:
    from luludb.cli.top_screen import screen_lines

    home = target.home
    disk = look_at_disk(home)
    return screen_lines(
        activity, disk, home=str(home.path), width=width, height=height, is_live=is_live
    )


@contextmanager
def _keys() -> Iterator[int | None]:
    """Standard input, which gives each key at once; None where it is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        # Ctrl-Z would leave the shell with this screen.
        held = termios.tcgetattr(descriptor)
        held[_CONTROL_CHARACTERS][termios.VSUSP] = b"\0"
        termios.tcsetattr(descriptor, termios.TCSANOW, held)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def _lines_end_at_the_edge(terminal: IO[str]) -> Iterator[None]:
    """Let no line go on in the next one.

    Terminals differ in how wide some emoji are, and a line that is too long by a column must not
    move those below it.
    """
    terminal.write("\x1b[?7l")
    try:
        yield
    finally:
        terminal.write("\x1b[?7h")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM leave by way of the `finally` clauses, which put the terminal in order."""

    def end(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_asked_to_quit(keys: int | None, until_s: float) -> bool:
    """Wait until `until_s` for the key q."""
    while (left_s := until_s - time.monotonic()) > 0:
        ready, _, _ = select.select([] if keys is None else [keys], [], [], left_s)
        if not ready:
            return False
        pressed = os.read(ready[0], 64)
        if not pressed or _QUIT & set(pressed):  # an end of file is a terminal that was closed
            return True
    return False
