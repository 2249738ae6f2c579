"""Backups under writers at full speed: what is in them, and what they cost the writers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from luludb_client import Client
from luludb_client.testing import running_daemon
from scripts.load.conversations import made_up_conversations
from scripts.load.crowd import pace_of
from scripts.load.journal import Journal
from scripts.load.verify import verify
from tests.crash.outages import write_while
from tests.crash.progress import Tell, tell_nobody
from tests.databases import damage, meta_of, query

PROCESSES = 16
DATABASE_BYTES = 300 * 1024 * 1024
ROUND_S = 20.0  # a backup takes nearly as long, under this load
FLUSH_MESSAGES = 2000
KEPT_MAX = "100000000"  # of changes, so that a backup's can be compared with all there were
BACKUP_S_MAX = 300.0
HOG = "import os; os.nice(10)\nwhile True: pass"  # as nice as a backup
RATIO_MAX = 2.0


@dataclass(slots=True)
class Rounds:
    """What rounds of writing met, by what ran beside them: `nothing`, `hog` or `backup`.

    Attributes:
        p99_ms: of the writers' calls, one a round.
        messages_per_s: acknowledged, one a round.
        backup_s: how long each backup took.
        backups: how many were made and found to be a beginning of what was written.
    """

    p99_ms: dict[str, list[float]] = field(default_factory=dict)
    messages_per_s: dict[str, list[float]] = field(default_factory=dict)
    backup_s: list[float] = field(default_factory=list)
    backups: int = 0
    log_bytes_max: int = 0

    def ratio(self, kind: str) -> float:
        """The writers' p99 beside `kind` to that beside nothing: the median of the rounds."""
        pairs = zip(self.p99_ms[kind], self.p99_ms["nothing"], strict=True)
        return median(with_it / alone for with_it, alone in pairs)

    @property
    def is_light(self) -> bool:
        """Whether the writers' p99 beside backups is no more than doubled, by what is not the
        processor's: a process that computes at the same niceness has its share too.
        """
        return self.ratio("backup") <= RATIO_MAX * max(1.0, self.ratio("hog"))

    def __str__(self) -> str:
        shown = "; ".join(
            f"{kind}: p99 {', '.join(f'{ms:.1f}' for ms in self.p99_ms[kind])} ms,"
            f" {median(self.messages_per_s[kind]):,.0f} messages/s"
            for kind in self.p99_ms
        )
        return (
            f"{self.backups} backups of {median(self.backup_s):.1f} s (longest"
            f" {max(self.backup_s):.1f}); {shown}; p99 to that of nothing: hog"
            f" {self.ratio('hog'):.2f}, backup {self.ratio('backup'):.2f}; log at most"
            f" {self.log_bytes_max:,} bytes"
        )


def check_is_a_beginning(backup: Path, whole: Path) -> None:
    """`backup` is what `whole` was after some rev: nothing less, nothing more, nothing torn."""
    assert damage(backup) == []
    last_rev = meta_of(backup)["last_rev"]
    revs = [rev for (rev,) in query(backup, "SELECT rev FROM lulu_changes ORDER BY rev")]
    assert revs == list(range(1, last_rev + 1))
    changes = "SELECT * FROM lulu_changes"
    assert query(backup, changes) == query(whole, f"{changes} WHERE rev <= {last_rev}")
    created = "SELECT session_id FROM lulu_changes WHERE op = 'session.create' ORDER BY rev"
    assert query(backup, created) == query(backup, "SELECT id FROM sessions ORDER BY rowid")
    appended = "SELECT message_id FROM lulu_changes WHERE op = 'message.append' ORDER BY rev"
    assert query(backup, appended) == query(backup, "SELECT id FROM messages ORDER BY rowid")
    # The ledger is of the same moment: each command of a client gave one rev.
    seqs = "SELECT max(last_seq) AS seq FROM lulu_replies GROUP BY id / 1024"
    assert query(backup, f"SELECT sum(seq) FROM ({seqs})") == [(last_rev,)]
    assert meta_of(backup)["database_id"] == meta_of(whole)["database_id"]


def back_up_under_writers(rounds: int, *, seed: int, tell: Tell = tell_nobody) -> Rounds:
    """Let 16 processes write, in turn beside nothing, a process that computes, and backups.

    Args:
        rounds: of each of the three.
        seed: of what is written.
        tell: told of each round.

    Raises:
        AssertionError: a backup is no beginning of what was written, or a row was lost.
    """
    met = Rounds()
    with tempfile.TemporaryDirectory(prefix="lulu-backups-", dir="/var/tmp") as name:
        directory = Path(name)
        with running_daemon(
            directory / "home", env={"LULUDB_CHANGES_KEPT_MAX": KEPT_MAX}
        ) as daemon:
            whole = daemon.home / "lulu.db"
            _fill(daemon.home, whole, seed)
            tell(f"filled: {whole.stat().st_size:,} bytes")
            filled = "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM messages)"
            before = query(whole, filled)[0][0]
            journals: list[Journal] = []
            for number in range(rounds):
                for kind, beside in (("nothing", _nothing()), ("hog", _hog())):
                    journals += _round(met, daemon.home, kind, beside, seed=seed + number)
                place = directory / f"{number}.db"
                beside = _backups(met, daemon.home, place)
                journals += _round(met, daemon.home, "backup", beside, seed=seed + number)
                tell(str(met))
            daemon.stop()
            for number in range(rounds):
                check_is_a_beginning(directory / f"{number}.db", whole)
                met.backups += 1
            _check_all(whole, journals, before)
    return met


Beside = Generator[None, None, None]
"""What runs beside the writers: it is resumed again and again, and closed at the end."""


def _fill(home: Path, database: Path, seed: int) -> None:
    conversations = made_up_conversations(seed)
    with Client(home, timeout_s=60.0) as client:
        while database.stat().st_size < DATABASE_BYTES:
            sent = 0
            for conversation in conversations:
                session = client.create_session("fill", "/fill")
                for role, content in conversation.turns:
                    client.submit(
                        "message.append", session_id=session.id, role=role, content=content
                    )
                    sent += 1
                if sent >= FLUSH_MESSAGES:
                    client.flush()
                    sent = 0
            client.flush()


def _round(met: Rounds, home: Path, kind: str, beside: Beside, *, seed: int) -> list[Journal]:
    log = home / "lulu.db-wal"
    until_s: float | None = None

    def is_going_on() -> bool:
        nonlocal until_s
        until_s = until_s or time.monotonic() + 0.8 * ROUND_S
        next(beside, None)
        met.log_bytes_max = max(met.log_bytes_max, log.stat().st_size)
        return time.monotonic() < until_s

    try:
        journals = write_while(home, is_going_on, seed=seed, round_s=ROUND_S, processes=PROCESSES)
    finally:
        beside.close()
    pace = pace_of(journals)
    met.p99_ms.setdefault(kind, []).append(pace.p99_ms)
    met.messages_per_s.setdefault(kind, []).append(pace.messages_per_s)
    return journals


def _nothing() -> Beside:
    while True:
        yield


def _hog() -> Beside:
    with _running([sys.executable, "-c", HOG]):
        while True:
            yield


def _backups(met: Rounds, home: Path, place: Path) -> Beside:
    """One backup after the other; the last one is waited for."""
    command = [sys.executable, "-m", "luludb", "backup", str(place), "--home", str(home)]
    is_over = False
    while not is_over:
        began_s = time.monotonic()
        with _running(command) as process:
            try:
                while process.poll() is None:
                    yield
            except GeneratorExit:
                is_over = True
            assert process.wait(BACKUP_S_MAX) == 0
        met.backup_s.append(time.monotonic() - began_s)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _check_all(whole: Path, journals: list[Journal], before: int) -> None:
    """What was acknowledged is there; the rows that filled the database are nobody's."""
    verdict = verify(whole, journals)
    assert verdict.unexpected == before, verdict
    verdict.unexpected = 0
    assert verdict.is_good, verdict
