"""Writers in processes of their own while something happens to the daemon they write to."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from luludb.ids import new_id
from luludb.times import now_text
from luludb_client import Client, LuludbError
from luludb_client.testing import Daemon, running_daemon
from scripts.load.conversations import made_up_conversations
from scripts.load.crowd import deal, percentile, run_crowd
from scripts.load.journal import Journal, JournalWriter, digest_of, read_journal
from scripts.load.verify import Verdict, verify
from scripts.load.writer import Assignment
from tests.crash.progress import Tell, tell_nobody

CALL_TIMEOUT_S = 60.0
ROUND_S_MAX = 30.0
OUTAGE_S = 0.6  # about how long one takes, with the daemon's life behind it
LIFE_S_MAX = 0.4
PROCESSES = 16


@dataclass(frozen=True, slots=True)
class Outages:
    """What became of writers whose daemon went away again and again.

    Attributes:
        seed: of the moments.
        count: how often it went away.
        median_ms: from the signal to the first new acknowledgement.
        max_ms: the longest of these.
        verdict: what was found in the database.
    """

    seed: int
    count: int
    median_ms: float
    max_ms: float
    verdict: Verdict

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.count} times, {self.verdict.messages} messages acknowledged;"
            f" first new acknowledgement after {self.median_ms:.0f} ms (median),"
            f" {self.max_ms:.0f} ms (max); {self.verdict}"
        )


class Observer:
    """Writes one message after the other, from a thread, and knows when each was acknowledged."""

    def __init__(self, home: Path, journal: Path) -> None:
        self._home = home
        self._path = journal
        self._answered = threading.Condition()
        self._last_s = (0.0, 0.0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def wait_for_acknowledgement(self, since_s: float) -> float:
        """When the first message that was begun after `since_s` was acknowledged."""
        with self._answered:
            assert self._answered.wait_for(
                lambda: self._last_s[0] >= since_s or not self._thread.is_alive(), CALL_TIMEOUT_S
            )
            assert self._last_s[0] >= since_s, "the observer met an error; its journal has it"
            return self._last_s[1]

    def _run(self) -> None:
        began_s = time.monotonic()
        with (
            Client(self._home, timeout_s=CALL_TIMEOUT_S) as client,
            JournalWriter(self._path) as journal,
        ):
            session_id = new_id()
            journal.session_sent(session_id, digest=digest_of("o", "created", "/o"))
            client.create_session("o", "/o", id=session_id)
            journal.acknowledged(session_id, 0)
            while not self._is_over and self._append(client, journal, session_id):
                pass
            journal.times(began_s=began_s, ended_s=time.monotonic())

    def _append(self, client: Client, journal: JournalWriter, session_id: str) -> bool:
        id, timestamp = new_id(), now_text()
        digest = digest_of(session_id, "user", id, timestamp)
        journal.message_sent(id, session_id=session_id, digest=digest)
        began_s = time.monotonic()
        try:
            client.append_message(session_id, "user", id, id=id, timestamp=timestamp)
        except LuludbError as error:
            journal.failed(id, error.code)
            return False
        now_s = time.monotonic()
        journal.acknowledged(id, now_s - began_s)
        with self._answered:
            self._last_s = (began_s, now_s)
            self._answered.notify_all()
        return True


def write_while(
    home: Path,
    is_going_on: Callable[[], bool],
    *,
    seed: int,
    round_s: float,
    processes: int = PROCESSES,
    window: int = 1,
) -> list[Journal]:
    """Let processes write, in rounds, until `is_going_on`, which is called all along, is false."""
    journals: list[Journal] = []
    goes_on = True

    def tick() -> None:
        nonlocal goes_on
        goes_on = goes_on and is_going_on()

    while goes_on:
        directory = Path(tempfile.mkdtemp(prefix="lulu-round-"))
        try:
            paths = deal(made_up_conversations(seed), directory, processes)
            assignments = [
                Assignment(
                    home=str(home),
                    database=str(home / "lulu.db"),
                    conversations=str(path),
                    journal=str(directory / f"{index}.journal"),
                    messages=None,
                    seconds=round_s,
                    window=window,
                    durability="normal",
                    timeout_s=CALL_TIMEOUT_S,
                )
                for index, path in enumerate(paths)
            ]
            journals += run_crowd(assignments, tick)
        finally:
            shutil.rmtree(directory)
    return journals


def interrupt_repeatedly(
    end: Callable[[Daemon], None],
    count: int,
    *,
    seed: int,
    processes: int = PROCESSES,
    window: int = 1,
    tell: Tell = tell_nobody,
) -> Outages:
    """End the daemon `count` times at random moments under writers, and start it again at once."""
    chance = random.Random(seed)
    recoveries_ms: list[int] = []
    moment_s = 0.0
    with tempfile.TemporaryDirectory(prefix="lulu-outages-") as name:
        directory = Path(name)
        home = directory / "home"
        with running_daemon(home) as daemon:
            with Observer(home, directory / "observer.journal") as observer:

                def is_going_on() -> bool:
                    nonlocal moment_s
                    if time.monotonic() < moment_s:
                        return True
                    began_s = time.monotonic()
                    end(daemon)
                    daemon.start()
                    answered_s = observer.wait_for_acknowledgement(began_s)
                    recoveries_ms.append(round((answered_s - began_s) * 1000))
                    tell(f"{len(recoveries_ms)} of {count} times; {recoveries_ms[-1]} ms")
                    moment_s = time.monotonic() + chance.uniform(0, LIFE_S_MAX)
                    return len(recoveries_ms) < count

                journals = write_while(
                    home,
                    is_going_on,
                    seed=seed,
                    round_s=min(count * OUTAGE_S, ROUND_S_MAX),
                    processes=processes,
                    window=window,
                )
            daemon.stop()
        # What is checked is what a daemon that has stopped left behind.
        journals.append(read_journal(directory / "observer.journal"))
        verdict = verify(home / "lulu.db", journals)
    recoveries_ms.sort()
    return Outages(
        seed=seed,
        count=len(recoveries_ms),
        median_ms=percentile(recoveries_ms, 50),
        max_ms=recoveries_ms[-1],
        verdict=verdict,
    )


def new_seed() -> int:
    """A seed, to be printed by whoever uses it."""
    return random.SystemRandom().randrange(1 << 32)
