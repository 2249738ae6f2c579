"""Live progress of a load: how many messages the database has, read from the file itself."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_LINE_S = 3.0


@contextlib.contextmanager
def shown_progress(
    console: Console, label: str, database: Path, *, seconds: float, messages: int | None = None
) -> Iterator[Callable[[], None]]:
    """Yields what is to be called from time to time while the load runs.

    On a terminal a bar moves, towards `messages` where that is known and `seconds` otherwise;
    elsewhere a plain line comes every few seconds.
    """
    with _counting(database) as count:
        if console.is_terminal:
            with _bar(console, label, count, seconds=seconds, messages=messages) as tick:
                yield tick
        else:
            yield _lines(console, label, count)


@contextlib.contextmanager
def _counting(database: Path) -> Iterator[Callable[[], int]]:
    uri = f"{database.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=0.0)
    last = 0

    def count() -> int:
        # No message is deleted here, so the highest rowid is their number, and found at once.
        nonlocal last
        with contextlib.suppress(sqlite3.OperationalError):  # the next look shows it
            (found,) = connection.execute("SELECT max(rowid) FROM messages").fetchone()
            last = found or last
        return last

    with contextlib.closing(connection):
        yield count


@contextlib.contextmanager
def _bar(
    console: Console,
    label: str,
    count: Callable[[], int],
    *,
    seconds: float,
    messages: int | None,
) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[told]}"),
    )
    clock = _Clock()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(label, total=messages or seconds, told="starting")

        def tick() -> None:
            elapsed_s, found = clock.elapsed_s(), count()
            told = f"{found:,} messages, {found / max(elapsed_s, 1.0):,.0f}/s"
            progress.update(bar, completed=found if messages else elapsed_s, told=told)

        yield tick


def _lines(console: Console, label: str, count: Callable[[], int]) -> Callable[[], None]:
    clock = _Clock()
    shown_s = 0.0

    def tick() -> None:
        nonlocal shown_s
        elapsed_s = clock.elapsed_s()
        if elapsed_s - shown_s >= PLAIN_LINE_S:
            shown_s = elapsed_s
            console.print(f"{label}  {elapsed_s:.0f} s  {count():,} messages", highlight=False)

    return tick


class _Clock:
    """Tells the time since it was first asked: the start of the processes is not counted."""

    def __init__(self) -> None:
        self._began: float | None = None

    def elapsed_s(self) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        return now - self._began
