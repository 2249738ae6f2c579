"""Many measured clients of one system: started once, let go together, asked for their journals."""

from __future__ import annotations

import contextlib
import json
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.bench.client import Assignment
from scripts.bench.processes import START_S_MAX, Running
from scripts.load.journal import Journal

# From the word to the first call: all have to have read the line by then.
LEAD_MS = 150
# A call of plain SQLite waits five seconds for the lock; everything else is quicker.
LATE_S_MAX = 60.0
JOURNAL_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one client did in one run, without the warm-up.

    Attributes:
        acknowledged: messages.
        seconds: in which they were.
        latencies_ms: of its calls, failed ones too.
        errors: failed calls by code, those of the warm-up too.
    """

    acknowledged: int
    seconds: float
    latencies_ms: array[float]
    errors: Counter[str]


class Crowd:
    """Clients that wait for the word."""

    def __init__(self, assignments: Sequence[Assignment]) -> None:
        self._clients = [
            Running("scripts.bench.client", json.dumps(asdict(each))) for each in assignments
        ]

    def wait_until_ready(self) -> None:
        """Wait until each has connected and made its sessions.

        Raises:
            ProcessFailed: one did not.
        """
        deadline_s = time.monotonic() + START_S_MAX
        for client in self._clients:
            client.wait_until_ready(deadline_s)

    def run(self, *, warm_s: float, seconds: float) -> list[Share]:
        """Let all write at once: a while that does not count, then `seconds`.

        Raises:
            ProcessFailed: one crashed or did not come back.
        """
        start_ns = time.perf_counter_ns() + LEAD_MS * 1_000_000
        from_ns = start_ns + round(warm_s * 1e9)
        end_ns = from_ns + round(seconds * 1e9)
        for client in self._clients:
            client.tell(f"go {start_ns} {from_ns} {end_ns}")
        deadline_s = time.monotonic() + LEAD_MS / 1000 + warm_s + seconds + LATE_S_MAX
        return [_share(client, deadline_s) for client in self._clients]

    def journals(self) -> list[Journal]:
        """What each sent and learned in all runs."""
        for client in self._clients:
            client.tell("journal")
        deadline_s = time.monotonic() + JOURNAL_S_MAX
        return [_journal(client.read_line(deadline_s)) for client in self._clients]

    def close(self) -> None:
        """End them all."""
        for client in self._clients:
            client.end_input()
        for client in self._clients:
            client.close()

    def kill(self) -> None:
        """End them at once."""
        for client in self._clients:
            client.kill()


@contextlib.contextmanager
def gathered(
    *,
    system: str,
    directory: Path,
    durability: str,
    mode: str,
    size: int,
    dealt: Sequence[Path],
) -> Iterator[Crowd]:
    """A crowd of one client for each file of `dealt`, starting but not yet ready."""
    crowd = Crowd(
        [
            Assignment(
                system=system,
                directory=str(directory),
                durability=durability,
                mode=mode,
                size=size,
                conversations=str(path),
            )
            for path in dealt
        ]
    )
    try:
        yield crowd
    except BaseException:
        crowd.kill()
        raise
    finally:
        crowd.close()


def _share(client: Running, deadline_s: float) -> Share:
    header = json.loads(client.read_line(deadline_s))
    latencies_ms = array("d")
    latencies_ms.frombytes(client.read_bytes(header["latencies"] * latencies_ms.itemsize))
    return Share(header["acknowledged"], header["seconds"], latencies_ms, Counter(header["errors"]))


def _journal(line: bytes) -> Journal:
    noted = json.loads(line)
    errors = noted["errors"]
    sent = {**noted["sessions"], **noted["messages"]}
    return Journal(
        sessions=noted["sessions"],
        messages={
            id: (session_id, digest) for id, (session_id, digest) in noted["messages"].items()
        },
        acknowledged={id: 0 for id in sent if id not in errors},
        errors=errors,
        began_s=0.0,
        ended_s=0.0,
    )
