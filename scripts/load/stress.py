"""The stress test behind `scripts/stress.py`: its arguments, the killing, and the report."""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luludb.errors import LuludbError
from luludb_client.testing import Daemon, running_daemon

from .conversations import Conversation, fixed_size_conversations, made_up_conversations
from .crowd import Pace, deal, pace_of, run_crowd
from .verify import Verdict, verify
from .writer import Assignment

SECONDS = 10.0
SECONDS_MAX = 3600.0
MESSAGES_SECONDS_MAX = 600.0
CALL_TIMEOUT_S = 60.0
LIFE_S_MIN = 0.05
LIFE_S_MAX = 1.0
FAILED = 1
INTERRUPTED = 130


def main() -> None:
    """Run the stress test and exit with what it found."""
    arguments = _parser().parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1 << 32)
    _say(
        arguments,
        f"seed {arguments.seed}: {arguments.processes} processes, window {arguments.window},"
        f" durability {arguments.durability}{', killing the daemon' if arguments.kill else ''}",
    )
    for name in [name for name in os.environ if name.startswith("LULUDB_")]:
        del os.environ[name]  # the caller's own home and settings have no part in this
    try:
        with tempfile.TemporaryDirectory(prefix="luludb-stress-") as directory:
            pace, verdict, kills = run_stress(Path(directory), arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (RuntimeError, LuludbError, sqlite3.Error, OSError) as error:
        print(f"stress.py: {error}", file=sys.stderr)
        sys.exit(FAILED)
    if arguments.kill and not kills:
        _say(arguments, "the load was over before the daemon was killed once; make it longer")
    report = report_of(arguments, pace, verdict, kills)
    if arguments.json:
        print(json.dumps(report))
    else:
        _print_report(report)
    sys.exit(0 if report["ok"] else FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/stress.py", description=__doc__)
    add = parser.add_argument
    add("--processes", type=_number(int, 1, 1024), default=16, help="writers (16)")
    bound = parser.add_mutually_exclusive_group()
    bound.add_argument(
        "--seconds", type=_number(float, 0.1, SECONDS_MAX), help=f"how long ({SECONDS:g})"
    )
    bound.add_argument(
        "--messages", type=_number(int, 1, 10_000_000), help="for each process, instead of a time"
    )
    add(
        "--message-bytes",
        type=_number(int, 0, 15 << 20),
        help="of each message; made-up agent conversations if left out",
    )
    add(
        "--window",
        type=_number(int, 1, 256),
        default=1,
        help="unanswered messages a process; 1, the default, is a blocking call each",
    )
    add("--durability", choices=("normal", "full"), default="normal")
    add("--kill", action="store_true", help="kill -9 and restart the daemon all along")
    add("--seed", type=int, help="of texts and of the moments of killing")
    add("--json", action="store_true", help="the report as one JSON object")
    return parser


def _number(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed are {least:,} to {most:,}")
        return value

    return number


def run_stress(directory: Path, arguments: argparse.Namespace) -> tuple[Pace, Verdict, int]:
    """One run in `directory`, which becomes the daemon's home and holds the journals.

    Returns:
        The pace, what was found in the database, and how often the daemon was killed.
    """
    home = directory / "home"
    home.mkdir()
    settings = f'durability = "{arguments.durability}"\n'
    (home / "luludb.toml").write_text(settings, encoding="utf-8")
    paths = deal(_conversations(arguments), directory, arguments.processes)
    seconds = arguments.seconds or (MESSAGES_SECONDS_MAX if arguments.messages else SECONDS)
    assignments = [
        Assignment(
            home=str(home),
            database=str(home / "lulu.db"),
            conversations=str(path),
            journal=str(directory / f"{index}.journal"),
            messages=arguments.messages,
            seconds=seconds,
            window=arguments.window,
            durability=arguments.durability,
            timeout_s=CALL_TIMEOUT_S,
        )
        for index, path in enumerate(paths)
    ]
    with running_daemon(home) as daemon:
        killer = Killer(daemon, arguments.seed)
        journals = run_crowd(assignments, killer.tick if arguments.kill else lambda: None)
        daemon.stop()
    # What is checked is what a daemon that has stopped left behind.
    return pace_of(journals), verify(home / "lulu.db", journals), killer.kills


def _conversations(arguments: argparse.Namespace) -> list[Conversation]:
    if arguments.message_bytes is not None:
        return fixed_size_conversations(arguments.message_bytes)
    return made_up_conversations(arguments.seed)


class Killer:
    """Kills the daemon with SIGKILL at random moments, and starts it again at once.

    Attributes:
        kills: how often so far.
    """

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.kills = 0
        self._daemon = daemon
        self._chance = random.Random(seed)
        self._plan()

    def tick(self) -> None:
        """Kill if the moment has come."""
        if time.monotonic() >= self._moment:
            self._daemon.kill()
            self._daemon.start()
            self.kills += 1
            self._plan()

    def _plan(self) -> None:
        self._moment = time.monotonic() + self._chance.uniform(LIFE_S_MIN, LIFE_S_MAX)


def report_of(
    arguments: argparse.Namespace, pace: Pace, verdict: Verdict, kills: int
) -> dict[str, Any]:
    """The report as one flat map; its `ok` decides the exit code, and a run of nothing is not."""
    return {
        "ok": verdict.is_good and pace.messages > 0,
        "seed": arguments.seed,
        "processes": arguments.processes,
        "durability": arguments.durability,
        "window": arguments.window,
        "kills": kills,
        "sessions": verdict.sessions,
        **asdict(pace),
        "errors": dict(verdict.errors),
        "lost": verdict.lost,
        "changed": verdict.changed,
        "doubled": verdict.doubled,
        "out_of_order": verdict.out_of_order,
        "unexpected": verdict.unexpected,
        "unanswered_kept": verdict.unanswered_kept,
        "unfinished_writers": verdict.unfinished_writers,
        "damage": verdict.damage,
    }


def _print_report(report: dict[str, Any]) -> None:
    for name, value in report.items():
        shown = f"{value:,.1f}" if isinstance(value, float) else value
        print(f"{name:<20}{shown}")
    print("every row was checked: all is kept" if report["ok"] else "FAILED")


def _say(arguments: argparse.Namespace, message: str) -> None:
    print(message, file=sys.stderr if arguments.json else sys.stdout, flush=True)
