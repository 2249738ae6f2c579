"""One measured process that reads through luludb's client, without a pause.

Run by a crowd as `python -m scripts.bench.reader ASSIGNMENT`; it speaks as `client` does.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from luludb_client import Client
from scripts.bench.fill import Filled
from scripts.bench.share import Share, send_share

READ_MAX = 50
KINDS = ("list_messages", "get_message", "list_sessions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one reader does.

    Attributes:
        home: whose file.
        kinds: of KINDS, one after the other.
        session_ids: read in turn; each has at least READ_MAX messages.
        message_ids: read in turn.
    """

    home: str
    kinds: list[str]
    session_ids: list[str]
    message_ids: list[str]


def reading(home: Path, filled: Filled, *kinds: str) -> tuple[str, str]:
    """The module of a reader and its assignment, for a Crowd."""
    assignment = Reading(
        home=str(home),
        kinds=list(kinds),
        session_ids=filled.session_ids,
        message_ids=filled.message_ids,
    )
    return "scripts.bench.reader", json.dumps(asdict(assignment))


def reads_of(client: Client, assignment: Reading) -> list[Callable[[], bool]]:
    """A call for each kind, which says whether the answer was right."""
    session_ids = itertools.cycle(assignment.session_ids)
    message_ids = itertools.cycle(assignment.message_ids)

    def list_messages() -> bool:
        return len(list(client.list_messages(next(session_ids), last=READ_MAX))) == READ_MAX

    def get_message() -> bool:
        return client.get_message(next(message_ids)) is not None

    def list_sessions() -> bool:
        return len(client.list_sessions(limit=READ_MAX)) == READ_MAX

    known = {call.__name__: call for call in (list_messages, get_message, list_sessions)}
    return [known[kind] for kind in assignment.kinds]


def read_until(
    reads: list[Callable[[], bool]], *, from_ns: int, end_ns: int, latencies_ms: array[float]
) -> None:
    """Read without a pause; what ends after `from_ns` is noted.

    Raises:
        ValueError: an answer was wrong.
    """
    clock = time.perf_counter_ns
    for read in itertools.cycle(reads):
        began = clock()
        if began >= end_ns:
            return
        is_right = read()
        ended = clock()
        if not is_right:
            raise ValueError(f"{read.__name__} did not give what is there")
        if ended >= from_ns:
            latencies_ms.append((ended - began) / 1e6)


def main() -> None:
    """Do the assignment of the first argument until standard input ends."""
    assignment = Reading(**json.loads(sys.argv[1]))
    with Client(assignment.home) as client:
        reads = reads_of(client, assignment)
        for read in reads:
            read()
        print("ready", flush=True)
        for line in sys.stdin:
            start_ns, from_ns, end_ns = map(int, line.split()[1:])
            time.sleep(max(0, start_ns - time.perf_counter_ns()) / 1e9)
            latencies_ms = array("d")
            read_until(reads, from_ns=from_ns, end_ns=end_ns, latencies_ms=latencies_ms)
            seconds = (end_ns - from_ns) / 1e9
            send_share(Share(len(latencies_ms), seconds, latencies_ms, {}))


if __name__ == "__main__":
    main()
