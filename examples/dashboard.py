"""A live table of all sessions, the newest activity first.

    python examples/dashboard.py [--home DIR]

On a terminal the table changes as changes come in, until Ctrl-C. Elsewhere each line is a session:
its name, status, number of messages, time of the last activity and how its last message begins,
parted by tabs; first all of them, then each one again when it changes.

A change only says which session to look at, and what is shown is read from the file. So it does
no harm to hear of one twice, and whoever missed some reads everything anew. This needs no daemon
and goes on across restarts of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from luludb_client import AsyncClient, ChangesPruned, DataLoss, LuludbError

ALL = ""  # no session has this id
SESSIONS = """
    SELECT s.id, s.name, s.status, max(s.updated_at, coalesce(m.timestamp, '')),
        (SELECT count(*) FROM messages WHERE session_id = s.id),
        coalesce(substr(m.content, 1, 300), '')
    FROM sessions s LEFT JOIN messages m
        ON m.rowid = (SELECT max(rowid) FROM messages WHERE session_id = s.id)
    WHERE ?1 IS NULL OR s.id IN (SELECT value FROM json_each(?1)) ORDER BY 4"""


class Row(NamedTuple):
    id: str
    name: str
    status: str
    active_at: str
    messages: int
    last: str


async def follow(client: AsyncClient, touched: set[str], news: asyncio.Event) -> None:
    """Note each session that changes in `touched`."""
    while True:
        watch = client.watch()  # before the reading: what is committed from here on, it tells
        touched.add(ALL)
        news.set()
        try:
            async for change in watch:
                touched.add(change.session_id)
                news.set()
        except (ChangesPruned, DataLoss):
            # This program stood still for too long, or a backup was restored. What is shown may
            # be wrong in any row: read anew, watch anew.
            continue


async def show(home: Path, touched: set[str], news: asyncio.Event, live: Live | None) -> None:
    """Read what was touched and show it; once a second in any case, as time goes on."""
    rows: dict[str, Row] = {}
    database = home / "lulu.db"
    while True:
        news.clear()
        ids, note, found = set(touched), "", list[Row]()
        touched.clear()
        try:
            if ids:
                found = await asyncio.to_thread(read, database, None if ALL in ids else ids)
        except sqlite3.OperationalError as error:  # no database yet, or its files come or go
            touched |= ids
            note = f"{database}: {error}"
        else:
            for id in list(rows) if ALL in ids else ids:
                rows.pop(id, None)  # a deleted one is not found again
            rows.update({row.id: row for row in found})
        if live is None:
            print_lines(found, note)
        else:
            live.update(table(rows.values(), note, home, live.console.height), refresh=True)
        await asyncio.sleep(0.1)  # many changes at once make one picture
        with suppress(TimeoutError):
            async with asyncio.timeout(0.9):
                await news.wait()


def read(database: Path, ids: Collection[str] | None) -> list[Row]:
    """The sessions of those ids, or all, in the order of their last activity."""
    chosen = None if ids is None else json.dumps(list(ids))
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda text: text.decode(errors="replace")
        return [Row(*row) for row in connection.execute(SESSIONS, (chosen,))]


def table(rows: Collection[Row], note: str, home: Path, height: int) -> Group:
    shown = Table(box=None, expand=True, pad_edge=False)
    shown.add_column("NAME", no_wrap=True, ratio=2)
    shown.add_column("STATUS", no_wrap=True, max_width=12)
    shown.add_column("MESSAGES", no_wrap=True, justify="right")
    shown.add_column("LAST MESSAGE", no_wrap=True, ratio=3)
    shown.add_column("AGO", no_wrap=True, justify="right")
    for row in sorted(rows, key=lambda row: row.active_at, reverse=True)[: max(height - 3, 1)]:
        texts = (row.name, row.status, f"{row.messages:,}", row.last, ago(row.active_at))
        shown.add_row(*(Text(one_line(text)) for text in texts))
    title = f"{home}: {len(rows):,} sessions; Ctrl-C ends"
    return Group(
        *(Text(one_line(text), no_wrap=True, overflow="ellipsis") for text in (title, note)), shown
    )


def one_line(text: object) -> str:
    """`text` in one line, without what could move the cursor or change the terminal."""
    return "".join(c if c.isprintable() else "·" for c in " ".join(str(text).split()))


def ago(moment: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):  # another program may have written it in another form
        return "?"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:,.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def print_lines(found: Collection[Row], note: str) -> None:
    for row in found:
        texts = (row.name, row.status, row.messages, row.active_at, row.last)
        print(*map(one_line, texts), sep="\t", flush=True)
    if note:
        print(one_line(note), file=sys.stderr)


@contextmanager
def screen(console: Console) -> Iterator[Live | None]:
    """The whole of the terminal, or None where there is none."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        # No line goes on in the next one: terminals differ in how wide some emoji are, and a row
        # that is too long by a column must not move those below it.
        console.file.write("\x1b[?7l")
        try:
            yield live
        finally:
            console.file.write("\x1b[?7h")


async def run(home: str | None) -> None:
    touched, news = set[str](), asyncio.Event()
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    loop.add_signal_handler(signal.SIGTERM, this.cancel)  # so that the terminal is put in order
    loop.add_signal_handler(signal.SIGWINCH, news.set)
    async with AsyncClient(home) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(follow(client, touched, news))
        with screen(Console()) as live:
            await show(client.home, touched, news, live)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", help="the directory of the database; else LULUDB_HOME")
    args = parser.parse_args()
    code = 0
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        asyncio.run(run(args.home))
    except* (KeyboardInterrupt, asyncio.CancelledError):
        code = 130
    except* BrokenPipeError:  # whoever read the pipe has enough; Python flushes once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except* LuludbError as errors:
        print(*errors.exceptions, sep="\n", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
