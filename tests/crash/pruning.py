"""Half of a database is pruned and its space given back, while writers write as fast as they can.

The rows come from real conversations where a file of them is given. What stays is compared row by
row; the writers' own rows are held against their journals.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luludb.ids import new_id
from luludb_client.testing import running_daemon
from scripts.load.conversations import (
    Conversation,
    fixed_size_conversations,
    made_up_conversations,
    read_conversations,
)
from scripts.load.crowd import deal, percentile, run_crowd
from scripts.load.journal import Journal
from scripts.load.verify import verify
from scripts.load.writer import Assignment
from tests.crash.progress import Tell, tell_nobody
from tests.databases import damage, query, reading

_NAMED = os.environ.get("LULUDB_TEST_DATA")
DATA = Path(_NAMED) if _NAMED else Path(__file__).resolve().parents[3] / "shared" / "data"
TIME = "2026-01-02T03:04:05.000006+00:00"
LONG_SESSION_MESSAGES = 2_000  # of one session that goes, and one that stays
WRITTEN_BYTES = 64  # of each message of the writers
COMMAND_S_MAX = 3600.0
CALL_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """What the writers' calls took, in milliseconds."""

    calls: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f},"
            f" p99.9 {self.p999_ms:.2f}, max {self.max_ms:.1f}"
        )


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a prune and a compaction did, and what those who wrote meanwhile felt of them.

    Attributes:
        findings: what is wrong in the database afterwards; empty is good.
    """

    pruned: dict[str, Any]
    compacted: dict[str, Any]
    prune_s: float
    compact_s: float
    alone: Latencies
    beside_prune: Latencies
    beside_compact: Latencies
    findings: list[str]

    def __str__(self) -> str:
        return "\n".join(
            (
                f"pruned {self.pruned} in {self.prune_s:.1f} s",
                f"compacted {self.compacted} in {self.compact_s:.1f} s",
                f"writers alone:          {self.alone}",
                f"writers beside prune:   {self.beside_prune}",
                f"writers beside compact: {self.beside_compact}",
                f"findings: {self.findings or 'none'}",
            )
        )


def prune_under_load(
    conversations: Sequence[Conversation],
    messages: int,
    *,
    writers: int,
    round_s: float,
    tell: Tell = tell_nobody,
) -> Pruning:
    """Fill a database with `messages`, prune every other session and compact, beside `writers`.

    Args:
        conversations: what is filled in, over and over. The writers take of the room that becomes
            free, so only long messages leave some for the compaction.
        messages: half of them go.
        writers: processes of a blocking client each.
        round_s: how long they write alone, and in each of the rounds beside a command.
        tell: told how far it is.
    """
    with tempfile.TemporaryDirectory(prefix="lulu-prune-") as name:
        directory = Path(name)
        with running_daemon(directory / "home") as daemon:
            database = daemon.home / "lulu.db"
            _fill(daemon.home, directory / "rows.jsonl", conversations, messages)
            stay = _digest_of_those_that_stay(database)
            tell(f"filled: {database.stat().st_size:,} bytes")
            load = _Load(daemon.home, directory, writers=writers, round_s=round_s)
            alone = load.run_beside(None)
            prune = _Command(daemon.home, "prune", "--status", "done", "--yes")
            beside_prune = load.run_beside(prune)
            tell(f"pruned: {prune.result} in {prune.took_s:.1f} s")
            compact = _Command(daemon.home, "compact")
            beside_compact = load.run_beside(compact)
            findings = [] if stay == _digest_of_those_that_stay(database) else ["rows changed"]
            if query(database, "SELECT count(*) FROM sessions WHERE status = 'done'") != [(0,)]:
                findings.append("sessions that were to go are there")
            findings += damage(database)
            findings += load.findings(database)
    return Pruning(
        pruned=prune.result,
        compacted=compact.result,
        prune_s=prune.took_s,
        compact_s=compact.took_s,
        alone=alone,
        beside_prune=beside_prune,
        beside_compact=beside_compact,
        findings=findings,
    )


class _Command(threading.Thread):
    """One command in a process of its own; its result is what it printed as JSON."""

    def __init__(self, home: Path, *args: str) -> None:
        super().__init__()
        self._args = [sys.executable, "-m", "luludb", *args, "--json", "--home", str(home)]
        self.result: dict[str, Any] = {}
        self.took_s = 0.0

    def run(self) -> None:
        began_s = time.monotonic()
        done = subprocess.run(self._args, capture_output=True, timeout=COMMAND_S_MAX, check=False)
        self.took_s = time.monotonic() - began_s
        self.result = (
            json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr.decode()}
        )


class _Load:
    """Writers, in rounds for as long as a command runs."""

    def __init__(self, home: Path, directory: Path, *, writers: int, round_s: float) -> None:
        self._home = home
        self._directory = directory
        self._round_s = round_s
        # Short ones: long messages would take the room as fast as it becomes free.
        self._dealt = deal(fixed_size_conversations(WRITTEN_BYTES), directory, writers)
        self._journals: list[Journal] = []
        self._rounds = 0

    def run_beside(self, command: _Command | None) -> Latencies:
        journals = []
        if command is not None:
            command.start()
        while True:
            journals += self._run_round()
            if command is None or not command.is_alive():
                break
        self._journals += journals
        return _latencies(journals)

    def findings(self, database: Path) -> list[str]:
        sessions = {id for journal in self._journals for id in journal.sessions}
        verdict = verify(database, self._journals)
        wrong = (verdict.lost, verdict.changed, verdict.doubled, verdict.out_of_order)
        found = [f"writers: {verdict}"] if any(wrong) or verdict.errors else []
        return found if sessions else [*found, "the writers wrote nothing"]

    def _run_round(self) -> list[Journal]:
        self._rounds += 1
        assignments = [
            Assignment(
                home=str(self._home),
                database=str(self._home / "lulu.db"),
                conversations=str(path),
                journal=str(self._directory / f"journal-{self._rounds}-{index}"),
                messages=None,
                seconds=self._round_s,
                window=1,
                durability="normal",
                timeout_s=CALL_TIMEOUT_S,
            )
            for index, path in enumerate(self._dealt)
        ]
        return run_crowd(assignments)


def _latencies(journals: Sequence[Journal]) -> Latencies:
    ordered = sorted(us for journal in journals for us in journal.acknowledged.values())
    return Latencies(
        len(ordered),
        percentile(ordered, 50) / 1000,
        percentile(ordered, 99) / 1000,
        ordered[max(0, -(-len(ordered) * 999 // 1000) - 1)] / 1000,
        ordered[-1] / 1000,
    )


def conversations_of_all_lengths(seed: int) -> list[Conversation]:
    """Those of the two files of real ones, mixed so that long messages are everywhere.

    Without the files, made up by `seed`.
    """
    short, long = DATA / "dialogues.jsonl.gz", DATA / "transcripts.jsonl"
    if not short.exists() or not long.exists():
        return made_up_conversations(seed)
    agents = read_conversations(long)
    mixed = []
    for place, dialogue in enumerate(read_conversations(short)):
        mixed += [dialogue] if place % 20 else [agents[place // 20 % len(agents)], dialogue]
    return mixed


def _fill(home: Path, file: Path, conversations: Sequence[Conversation], messages: int) -> None:
    """Import sessions of which every other one is `done`."""
    left = messages
    turns = [turn for conversation in conversations for turn in conversation.turns]
    long = [turns[at % len(turns)] for at in range(min(LONG_SESSION_MESSAGES, messages // 8))]
    with file.open("w", encoding="utf-8") as lines:
        place = 0
        while left > 0:
            own = long if place < 2 else conversations[place % len(conversations)].turns
            left -= len(own)
            session_id = new_id()
            status = "running" if place % 2 else "done"
            row = {"type": "session", "id": session_id, "name": "n", "status": status}
            times = {"created_at": TIME, "updated_at": TIME}
            lines.write(json.dumps({**row, "working_dir": "/filled", **times}) + "\n")
            for role, content in own:
                row = {"type": "message", "id": new_id(), "session_id": session_id, "role": role}
                lines.write(json.dumps({**row, "content": content, "timestamp": TIME}) + "\n")
            place += 1
    args = [sys.executable, "-m", "luludb", "import", str(file), "--home", str(home)]
    subprocess.run(args, check=True, capture_output=True, timeout=COMMAND_S_MAX)
    file.unlink()


def _digest_of_those_that_stay(database: Path) -> str:
    """Of every row that was filled in and is to stay, with its rowid, in order."""
    digest = hashlib.sha256()
    with reading(database) as connection:
        for row in connection.execute(
            "SELECT rowid, * FROM messages WHERE session_id IN (SELECT id FROM sessions"
            " WHERE working_dir = '/filled' AND status = 'running') ORDER BY rowid"
        ):
            digest.update(repr(row).encode())
    return digest.hexdigest()
