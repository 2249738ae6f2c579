"""Runs many writers at once, and waits for their end."""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .conversations import Conversation
from .journal import Journal, read_journal
from .writer import Assignment

ROOT = Path(__file__).resolve().parent.parent.parent
START_S_MAX = 60.0
END_MARGIN_S = 15.0
TICK_S = 0.1
STALL_US = 100_000
ERROR_CHARACTERS_SHOWN_MAX = 2000


class WriterFailed(RuntimeError):
    """Is raised when a writer did not start, or ended otherwise than it should."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast acknowledged messages came: latencies in milliseconds, as the writers saw them."""

    messages: int
    seconds: float
    messages_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    calls_over_100_ms: int


def deal(conversations: Sequence[Conversation], directory: Path, count: int) -> list[Path]:
    """Deal `conversations` among `count` writers, one file each; each gets at least one."""
    paths = []
    for index in range(count):
        share = conversations[index::count] or [conversations[index % len(conversations)]]
        paths.append(directory / f"conversations-{index}.json")
        paths[-1].write_text(json.dumps(share), encoding="utf-8")
    return paths


def run_crowd(
    assignments: Sequence[Assignment], tick: Callable[[], None] = lambda: None
) -> list[Journal]:
    """Run a process for each of `assignments`, all let go at once; `tick` is called while they run.

    Returns:
        What each noted, in the order of the assignments.

    Raises:
        WriterFailed: a writer did not start, or crashed; the text has what it said.
    """
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_started(assignment)) for assignment in assignments]
        deadline = time.monotonic() + START_S_MAX
        for writer, assignment in zip(writers, assignments, strict=True):
            _wait_until_ready(writer, assignment, deadline)
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
        longest_s = max(each.seconds + each.timeout_s for each in assignments) + END_MARGIN_S
        deadline = time.monotonic() + longest_s
        for writer, assignment in zip(writers, assignments, strict=True):
            _wait_until_ended(writer, assignment, deadline, tick)
    return [read_journal(Path(assignment.journal)) for assignment in assignments]


def pace_of(journals: Sequence[Journal]) -> Pace:
    """The pace of all writers together, from the first one's beginning to the last one's end."""
    latencies = sorted(us for journal in journals for us in journal.message_latencies_us())
    began = [journal.began_s for journal in journals if journal.began_s is not None]
    ended = [journal.ended_s for journal in journals if journal.ended_s is not None]
    seconds = max(ended) - min(began) if ended else 0.0
    return Pace(
        messages=len(latencies),
        seconds=seconds,
        messages_per_s=len(latencies) / seconds if seconds else 0.0,
        p50_ms=percentile(latencies, 50) / 1000,
        p99_ms=percentile(latencies, 99) / 1000,
        max_ms=percentile(latencies, 100) / 1000,
        calls_over_100_ms=len(latencies) - bisect.bisect_right(latencies, STALL_US),
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest of `ordered` that is not below `percent` of them; 0 of none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@contextlib.contextmanager
def _started(assignment: Assignment) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with _errors_of(assignment).open("wb") as errors:
        writer = subprocess.Popen(
            [sys.executable, "-P", "-m", "scripts.load.writer", json.dumps(asdict(assignment))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C reaches the whole foreground group; the writers are ended from here, in order.
            process_group=0,
        )
    with writer:
        try:
            yield writer
        finally:
            if writer.poll() is None:
                writer.kill()


def _errors_of(assignment: Assignment) -> Path:
    return Path(assignment.journal).with_suffix(".errors")


def _wait_until_ready(
    writer: subprocess.Popen[bytes], assignment: Assignment, deadline: float
) -> None:
    assert writer.stdout is not None
    remaining_s = max(0.0, deadline - time.monotonic())
    readable, _, _ = select.select([writer.stdout], [], [], remaining_s)
    if not readable or writer.stdout.readline() != b"ready\n":
        raise WriterFailed(f"a writer did not start: {_said(assignment)}")


def _wait_until_ended(
    writer: subprocess.Popen[bytes],
    assignment: Assignment,
    deadline: float,
    tick: Callable[[], None],
) -> None:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if writer.wait(TICK_S):
                raise WriterFailed(f"a writer ended with {writer.returncode}: {_said(assignment)}")
            return
        if time.monotonic() > deadline:
            raise WriterFailed(f"writer {writer.pid} did not end in time: {_said(assignment)}")
        tick()


def _said(assignment: Assignment) -> str:
    text = _errors_of(assignment).read_text(encoding="utf-8", errors="replace").strip()
    return text[-ERROR_CHARACTERS_SHOWN_MAX:] or "it said nothing"
