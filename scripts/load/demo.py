"""The demonstration: the same load through luludb and through plain SQLite, checked and compared.

Run by `scripts/demo`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from luludb.errors import LuludbError
from luludb_client.testing import running_daemon

from .conversations import made_up_conversations, read_conversations
from .crowd import ROOT, Pace, deal, pace_of, run_crowd
from .journal import Journal
from .progress import shown_progress
from .verify import Verdict, verify
from .writer import PLAIN_SCHEMA, PLAIN_TIMEOUT_S, Assignment

PROCESSES = 16
PROCESSES_MAX = 256
SECONDS = 8.0
SECONDS_MAX = 60.0
PLAIN_TIME_FACTOR = 2.0
"""How much longer plain SQLite may take for the same messages before it is stopped."""
CALL_TIMEOUT_S = 10.0
COLUMNS_MAX = 80
SEED = 1
FAILED = 1
USAGE = 2
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Side:
    """What one side did, and what was found when its database was read back."""

    pace: Pace
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Load:
    """What is written: a file of conversations for each process, for `seconds`."""

    directory: Path
    conversations: Sequence[Path]
    seconds: float


def main() -> None:
    """Run the demonstration; exit with 0 only where luludb kept everything."""
    for name in [name for name in os.environ if name.startswith("LULUDB_")]:
        del os.environ[name]  # the caller's own home and settings have no part in this
    arguments = _arguments()
    console = Console(highlight=False)
    console.width = min(console.width, COLUMNS_MAX)
    try:
        with tempfile.TemporaryDirectory(prefix="luludb-demo-") as directory:
            sys.exit(_demonstrate(console, Path(directory), arguments))
    except KeyboardInterrupt:
        console.print("interrupted; everything was stopped and removed")
        sys.exit(INTERRUPTED)
    except (RuntimeError, LuludbError, sqlite3.Error, OSError) as error:
        console.print(f"demo: {error}", markup=False)
        sys.exit(FAILED)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="conversations as JSON lines, or .gz")
    parser.add_argument("--processes", type=_number_up_to(PROCESSES_MAX), default=PROCESSES)
    parser.add_argument("--seconds", type=_number_up_to(SECONDS_MAX), default=SECONDS)
    return parser.parse_args()


def _number_up_to(most: float) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed is a whole number, 1 to {most:g}")
        return int(text)

    return number


def _demonstrate(console: Console, directory: Path, arguments: argparse.Namespace) -> int:
    try:
        if arguments.file is None:
            conversations, source = made_up_conversations(SEED), "made up here"
        else:
            conversations = read_conversations(arguments.file)
            source = f"the {len(conversations):,} of {arguments.file.name} in turn"
    except (OSError, ValueError) as error:
        console.print(f"demo: {error}", markup=False)
        return USAGE
    paths = deal(conversations, directory, arguments.processes)
    load = Load(directory, paths, arguments.seconds)
    console.print(
        f"{arguments.processes} processes write agent conversations at once, for"
        f" {arguments.seconds:g} s.\n"
        f"Conversations: {source}.\n"
        "Each message is a call of its own, which returns when the message is kept.",
        markup=False,
        soft_wrap=True,
    )
    luludb, journals = _run_luludb(console, load)
    plain = _run_plain(console, load, journals)
    _print_table(console, luludb, plain)
    _print_verdict(console, luludb.verdict)
    if not luludb.verdict.is_good:
        return FAILED
    _print_how_to_go_on(console)
    return 0


def _run_luludb(console: Console, load: Load) -> tuple[Side, list[Journal]]:
    home = load.directory / "home"
    with running_daemon(home) as daemon:
        database = home / "lulu.db"
        assignments = [
            _assignment(load, index, home=str(home), database=database)
            for index in range(len(load.conversations))
        ]
        with shown_progress(console, "luludb      ", database, seconds=load.seconds) as tick:
            journals = run_crowd(assignments, tick)
        daemon.stop()
    return Side(pace_of(journals), verify(database, journals)), journals


def _run_plain(console: Console, load: Load, done: Sequence[Journal]) -> Side:
    database = load.directory / "plain.db"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(PLAIN_SCHEMA)
    messages = [len(journal.messages) for journal in done]
    assignments = [
        _assignment(load, index, home=None, database=database, messages=count)
        for index, count in enumerate(messages)
    ]
    label, total = "plain sqlite", sum(messages)
    seconds = load.seconds * PLAIN_TIME_FACTOR
    with shown_progress(console, label, database, seconds=seconds, messages=total) as tick:
        journals = run_crowd(assignments, tick)
    return Side(pace_of(journals), verify(database, journals))


def _assignment(
    load: Load, index: int, *, home: str | None, database: Path, messages: int | None = None
) -> Assignment:
    return Assignment(
        home=home,
        database=str(database),
        conversations=str(load.conversations[index]),
        journal=str(load.directory / f"{database.stem}-{index}.journal"),
        messages=messages,
        seconds=load.seconds if home else load.seconds * PLAIN_TIME_FACTOR,
        window=1,
        durability="normal",
        timeout_s=CALL_TIMEOUT_S,
    )


def _print_table(console: Console, luludb: Side, plain: Side) -> None:
    table = Table()
    table.add_column("", min_width=22)
    table.add_column("luludb", justify="right")
    table.add_column("plain sqlite3", justify="right")
    for label, *cells in _table_rows(luludb, plain):
        table.add_row(label, *cells)
    console.print(table)
    console.print(
        "Every row was read back and held against what the processes had noted.\n"
        "Both: the same messages, WAL, synchronous=NORMAL, kept when the call returns.\n"
        f"Plain: sqlite3.connect(timeout={PLAIN_TIMEOUT_S:g}), one BEGIN IMMEDIATE a message; one"
        " that meets\na lock error is counted and given up.",
        markup=False,
    )
    left = luludb.pace.messages - plain.pace.messages - plain.verdict.errors.total()
    if left > 0:
        console.print(f"Plain was stopped after {plain.pace.seconds:.0f} s, {left:,} short.")


def _table_rows(luludb: Side, plain: Side) -> Iterator[tuple[str, str, str]]:
    sides = (luludb, plain)

    def row(label: str, told: Callable[[Side], str]) -> tuple[str, str, str]:
        return (label, *(told(side) for side in sides))  # type: ignore[return-value]  # two sides

    yield row("messages", lambda side: f"{side.pace.messages:,}")
    yield row("seconds", lambda side: f"{side.pace.seconds:.1f}")
    yield row("messages a second", lambda side: f"{side.pace.messages_per_s:,.0f}")
    yield row("latency p50, ms", lambda side: f"{side.pace.p50_ms:,.2f}")
    yield row("latency p99, ms", lambda side: f"{side.pace.p99_ms:,.1f}")
    yield row("latency max, ms", lambda side: f"{side.pace.max_ms:,.1f}")
    yield row("calls over 100 ms", lambda side: f"{side.pace.calls_over_100_ms:,}")
    yield row("lock errors", lambda side: f"{side.verdict.lock_errors:,}")
    yield row("other errors", lambda side: f"{side.verdict.other_errors:,}")
    yield row("lost", lambda side: f"{side.verdict.lost:,}")
    yield row("doubled", lambda side: f"{side.verdict.doubled:,}")
    yield row("out of order", lambda side: f"{side.verdict.out_of_order:,}")
    yield row("altered or never sent", lambda side: f"{side.verdict.altered:,}")


def _print_verdict(console: Console, verdict: Verdict) -> None:
    if verdict.is_good:
        console.print(
            f"luludb kept all {verdict.messages:,} messages of {verdict.sessions:,} sessions:"
            " once, in order, no error."
        )
    else:
        console.print(f"luludb FAILED: {verdict}", markup=False)


def _print_how_to_go_on(console: Console) -> None:
    here = os.path.relpath(ROOT)
    luludb = shlex.quote(f"{here}/.venv/bin/luludb")
    stress = shlex.quote(f"{here}/scripts/stress.py")
    console.print(
        "\nHow to go on (README.md: the Python client, and how to import today's lulu.db):\n"
        f"  {luludb} serve --home ~/lulu &\n"
        f"  {luludb} session create 'my first' --home ~/lulu\n"
        f"  {luludb} session list --home ~/lulu\n"
        f"  {stress} --processes 64 --messages 500 --kill",
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
