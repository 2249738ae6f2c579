"""One benchmark under way: its pace, its places, and the rounds that every load is made of."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from scripts.bench import luludb_system
from scripts.bench.client import Assignment
from scripts.bench.crowd import Crowd, gathered
from scripts.bench.figures import LoadResult, Run, curve_of, run_of
from scripts.bench.systems import System, system
from scripts.load.conversations import Conversation
from scripts.load.crowd import deal
from scripts.load.journal import Journal
from scripts.load.verify import Verdict, verify_rows

CONVERSATIONS_DEALT_MAX = 3000
Row = TypeVar("Row", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes.

    Attributes:
        pairs: rounds in which every system has one run.
        seconds: of a run.
        warm_s: before each run, not counted.
        is_short: smaller loads, for a look and for the tests.
    """

    pairs: int
    seconds: float
    warm_s: float
    is_short: bool


@dataclass(frozen=True, slots=True)
class Contender:
    """One system in a load, and how it is called.

    Attributes:
        name: in tables and plots.
        system: in `systems`.
        mode: see `client.Assignment`.
        processes: clients, where they are not as many as the load's.
    """

    name: str
    system: str
    mode: str = "blocking"
    size: int = 1
    processes: int | None = None

    def assignments(
        self, directory: Path, durability: str, dealt: Sequence[Path]
    ) -> list[Assignment]:
        """One for each file of `dealt` conversations."""
        return [
            Assignment(
                system=self.system,
                directory=str(directory),
                durability=durability,
                mode=self.mode,
                size=self.size,
                conversations=str(path),
            )
            for path in dealt
        ]


@dataclass(slots=True)
class Bench:
    """What all loads share.

    Attributes:
        home: an own directory for databases; each load makes one of its own inside.
        conversations: what is written.
        data: the file they come from; None where they are made up.
        missing: systems that cannot be measured here, by name, and why.
    """

    home: Path
    conversations: list[Conversation]
    data: Path | None
    pace: Pace
    missing: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def can(self, name: str) -> bool:
        return name not in self.missing

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """A new directory under the home, gone at the end with all that is in it."""
        path = self.home / str(next(self._numbers))
        path.mkdir(mode=0o711)  # the user who runs PostgreSQL has to get through
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def contest(
        self,
        result: LoadResult,
        contenders: Sequence[Contender],
    ) -> LoadResult:
        """Run `contenders` in turns for all rounds, check their rows, and note it in `result`."""
        contenders = [each for each in contenders if self.can(each.system)]
        with self.directory() as place, contextlib.ExitStack() as stack:
            dealt = self.deal(place, max(each.processes or result.processes for each in contenders))
            crowds = {
                each.name: stack.enter_context(self._crowd(place, each, result, dealt))
                for each in contenders
            }
            self.run_rounds(result, crowds)
            for number, each in enumerate(contenders):
                if each.system == "luludb":
                    result.notes.append(luludb_system.commits_text(each.name, place / str(number)))
                if system(each.system).KEEPS_ROWS:
                    result.kept[each.name] = check_rows(
                        system(each.system), place / str(number), crowds[each.name].journals()
                    )
        return result

    def run_rounds(self, result: LoadResult, crowds: dict[str, Crowd]) -> None:
        """All rounds of crowds that are ready, each having one run in every round."""
        latencies_ms = {name: array("d") for name in crowds}
        for _ in range(self.pace.pairs):
            for name, crowd in crowds.items():
                # What one system left to be written shall not be written in the next one's time.
                os.sync()
                shares = crowd.run(warm_s=self.pace.warm_s, seconds=self.pace.seconds)
                result.runs.setdefault(name, []).append(run_of(shares))
                for share in shares:
                    latencies_ms[name].extend(share.latencies_ms)
                print_run(name, result.runs[name][-1])
        for name, measured in latencies_ms.items():
            result.curves[name] = curve_of(measured)

    @contextlib.contextmanager
    def _crowd(
        self, place: Path, contender: Contender, result: LoadResult, dealt: Sequence[Path]
    ) -> Iterator[Crowd]:
        """The contender's server and clients, in the next directory of `place`."""
        directory = place / str(sum(path.is_dir() for path in place.iterdir()))
        directory.mkdir(mode=0o700)
        writers = dealt[: contender.processes or result.processes]
        with (
            system(contender.system).serving(directory, result.durability),
            gathered(contender.assignments(directory, result.durability, writers)) as crowd,
        ):
            yield crowd

    def deal(self, place: Path, count: int) -> list[Path]:
        """Conversations for `count` writers, one file each."""
        return deal(self.conversations[:CONVERSATIONS_DEALT_MAX], place, count)


def check_rows(
    measured: System, directory: Path, journals: Sequence[Journal], *, before: int = 0
) -> str:
    """Hold what a system kept against what its clients sent.

    Args:
        measured: whose rows.
        directory: where they are.
        journals: of all its clients.
        before: how many messages were there, in other sessions, before the clients began.

    Returns:
        The finding, in words.

    Raises:
        RowsWrong: a row is lost, doubled, changed, out of order or not expected.
    """
    began_s = time.monotonic()
    theirs = {id for journal in journals for id in journal.sessions}
    others: Counter[str] = Counter()

    def only_theirs(rows: Iterable[Row], column: int, name: str) -> Iterator[Row]:
        for row in rows:
            if not before or row[column] in theirs:
                yield row
            else:
                others[name] += 1

    with measured.kept_rows(directory) as (sessions, messages):
        verdict = verify_rows(
            journals,
            sessions=only_theirs(sessions, 0, "sessions"),
            messages=only_theirs(messages, 1, "messages"),
        )
    if not verdict.is_kept:
        raise RowsWrong(f"{measured.version()}: {_described(verdict)}")
    if others["messages"] != before:
        raise RowsWrong(
            f"{measured.version()}: {others['messages']} messages are left of the {before} that"
            " were there before the run"
        )
    seconds = time.monotonic() - began_s
    print(f"    {verdict.messages + before} messages checked in {seconds:.1f} s", flush=True)
    found = f"{verdict.messages:,} messages, each there once, unchanged and in order"
    return f"{found}; the {before:,} from before are there" if before else found


class RowsWrong(RuntimeError):
    """Is raised where a system did not keep what it acknowledged."""


def _described(verdict: Verdict) -> str:
    return (
        f"of {verdict.messages} acknowledged messages {verdict.lost} rows are lost,"
        f" {verdict.changed} changed, {verdict.doubled} doubled, {verdict.out_of_order} out of"
        f" order, {verdict.unexpected} not expected"
    )


def print_run(name: str, run: Run) -> None:
    """One run as a line of the terminal."""
    errors = f"  errors {run.errors}" if run.errors else ""
    print(
        f"    {name:32} {run.rate_per_s:9,.0f}/s  p50 {run.p50_ms:8.3f}  p99 {run.p99_ms:8.2f}"
        f"  p99.9 {run.p999_ms:8.2f}  max {run.max_ms:8.2f} ms"
        f"  fairness {run.fairness:.2f}{errors}",
        flush=True,
    )
