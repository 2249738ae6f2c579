"""A line that shows how far a long command is, on a terminal at standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")
_ITEMS_BETWEEN_LOOKS = 64  # a look at the clock for each row would be felt
# So short that a line of 80 columns has room behind it for the ^C that a terminal echoes: that
# would begin the next line otherwise, and the progress would not be wiped away.
_BAR_CHARACTERS = 24


def tracked(
    items: Iterable[_Item],
    *,
    verb: str,
    noun: str,
    total: int | None = None,
    done: Callable[[], int] | None = None,
) -> Generator[_Item, None, None]:
    """`items` as they come, counted on the terminal. To be closed by the caller.

    Args:
        items: what is counted.
        verb: what is being done.
        noun: what the items are.
        total: the whole of what `done` counts, which gives the bar its length.
        done: how much of `total` is behind us.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=_BAR_CHARACTERS)]
    if total is not None:
        columns.append(TaskProgressColumn())
    columns.append(TextColumn("{task.fields[counted]}"))
    started_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=total, counted="")
        for count, item in enumerate(items, 1):
            if count % _ITEMS_BETWEEN_LOOKS == 0:
                per_s = count / (time.monotonic() - started_s)
                progress.update(
                    task,
                    completed=done() if done else count,
                    counted=f"{count:,} {noun}  {per_s:,.0f}/s",
                )
            yield item


@contextmanager
def steps_shown() -> Iterator[Callable[[str, int, int | None], None]]:
    """A function that shows what is being done, how much of it is done, and the whole if known."""
    if not sys.stderr.isatty():
        yield lambda _verb, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR_CHARACTERS),
        TaskProgressColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda verb, done, total: progress.update(
            task, description=verb, completed=done, total=total
        )
