"""One measured process that iterates `watch()` and notes when each change came.

Run by a crowd as `python -m scripts.bench.follower ASSIGNMENT`, the assignment as JSON. It prints
`ready` and takes lines from standard input:

    go START_NS FROM_NS END_NS     watches all sessions from now on, until a moment after END; of
                                   the machine's monotonic clock. The answer is a Share: how many
                                   changes came after FROM
    seen                           when each change of the last run came, by message id, as JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from luludb.model import Change
from luludb_client import AsyncClient, Client
from scripts.bench.share import Share, send_share

AFTER_S = 0.3
"""What was acknowledged last is seen by then."""


@dataclass(frozen=True, slots=True)
class Following:
    """What one follower does.

    Attributes:
        home: whose changes.
        kind: of KINDS.
    """

    home: str
    kind: str


@dataclass(slots=True)
class Notes:
    """The changes of one run.

    Attributes:
        moments_ns: when each came, by message id.
        rev: of the last one.
    """

    moments_ns: dict[str, int] = field(default_factory=dict)
    rev: int | None = None

    def take(self, change: Change) -> None:
        """Note a change.

        Raises:
            ValueError: one was left out, or came twice.
        """
        now_ns = time.perf_counter_ns()
        if self.rev is not None and change.rev != self.rev + 1:
            raise ValueError(f"change {change.rev} came behind {self.rev}")
        self.rev = change.rev
        if change.message_id is not None:
            self.moments_ns[change.message_id] = now_ns


def following(home: Path, kind: str) -> tuple[str, str]:
    """The module of a follower and its assignment, for a Crowd."""
    return "scripts.bench.follower", json.dumps(asdict(Following(str(home), kind)))


def follow(home: str, notes: Notes, until_ns: int) -> None:
    """Iterate over `Client.watch`, in this thread alone."""
    with Client(home) as client:
        watch = client.watch()
        timer = threading.Timer(_left_s(until_ns), watch.close)
        timer.start()
        for change in watch:
            notes.take(change)
        timer.join()


def follow_by_loop(home: str, notes: Notes, until_ns: int) -> None:
    """Iterate over `AsyncClient.watch`, in the only task of a loop."""

    async def iterate() -> None:
        async with AsyncClient(home) as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_left_s(until_ns)):
                    async for change in client.watch():
                        notes.take(change)

    asyncio.run(iterate())


KINDS: dict[str, Callable[[str, Notes, int], None]] = {
    "blocking": follow,
    "asyncio": follow_by_loop,
}


def main() -> None:
    """Do the assignment of the first argument until standard input ends."""
    assignment = Following(**json.loads(sys.argv[1]))
    notes = Notes()
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["go", _, from_ns, end_ns]:
                notes = Notes()
                until_ns = int(end_ns) + round(AFTER_S * 1e9)
                KINDS[assignment.kind](assignment.home, notes, until_ns)
                seconds = (int(end_ns) - int(from_ns)) / 1e9
                seen = sum(int(from_ns) <= at_ns for at_ns in notes.moments_ns.values())
                send_share(Share(seen, seconds, array("d"), {}))
            case ["seen"]:
                print(json.dumps(notes.moments_ns), flush=True)
            case other:
                raise ValueError(f"line is {other!r}")


def _left_s(until_ns: int) -> float:
    return max(0, until_ns - time.perf_counter_ns()) / 1e9


if __name__ == "__main__":
    main()
