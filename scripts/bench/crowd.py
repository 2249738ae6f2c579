"""Many measured clients of one system: started once, let go together, asked for their journals."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.bench.client import Assignment
from scripts.bench.processes import START_S_MAX, Running
from scripts.bench.share import Share, receive_share
from scripts.load.journal import Journal

# From the word to the first call: all have to have read the line by then.
LEAD_MS = 150
# A call of plain SQLite waits five seconds for the lock; everything else is quicker.
LATE_S_MAX = 60.0
ANSWER_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Moments:
    """When a run begins, when it counts and when it ends, by the machine's monotonic clock."""

    start_ns: int
    from_ns: int
    end_ns: int


def moments_ahead(*, warm_s: float, seconds: float) -> Moments:
    """A run that begins in a moment: a while that does not count, then `seconds`."""
    start_ns = time.perf_counter_ns() + LEAD_MS * 1_000_000
    from_ns = start_ns + round(warm_s * 1e9)
    return Moments(start_ns, from_ns, from_ns + round(seconds * 1e9))


class Crowd:
    """Processes that wait for the word: the module of each, and its assignment as JSON."""

    def __init__(self, assignments: Sequence[tuple[str, str]]) -> None:
        self._clients = [Running(module, assignment) for module, assignment in assignments]

    def wait_until_ready(self) -> None:
        """Wait until each has connected and made its sessions.

        Raises:
            ProcessFailed: one did not.
        """
        deadline_s = time.monotonic() + START_S_MAX
        for client in self._clients:
            client.wait_until_ready(deadline_s)

    def run(self, *, warm_s: float, seconds: float) -> list[Share]:
        """Let all go at once and wait for them.

        Raises:
            ProcessFailed: one crashed or did not come back.
        """
        moments = moments_ahead(warm_s=warm_s, seconds=seconds)
        self.let_go(moments)
        return self.shares(moments)

    def let_go(self, moments: Moments) -> None:
        """Tell all when to begin and to end."""
        for client in self._clients:
            client.tell(f"go {moments.start_ns} {moments.from_ns} {moments.end_ns}")

    def shares(self, moments: Moments) -> list[Share]:
        """What each did in the run that was let go last."""
        remaining_s = (moments.end_ns - time.perf_counter_ns()) / 1e9
        deadline_s = time.monotonic() + max(0.0, remaining_s) + LATE_S_MAX
        return [receive_share(client, deadline_s) for client in self._clients]

    @property
    def pids(self) -> list[int]:
        """Of its processes."""
        return [client.pid for client in self._clients]

    def ask(self, *lines: str) -> list[Any]:
        """Say a line to each, or to all the same one, and take a line of JSON from each.

        Raises:
            ProcessFailed: one did not answer.
        """
        said = lines if len(lines) == len(self._clients) else lines * len(self._clients)
        for client, line in zip(self._clients, said, strict=True):
            client.tell(line)
        deadline_s = time.monotonic() + ANSWER_S_MAX
        return [json.loads(client.read_line(deadline_s)) for client in self._clients]

    def journals(self) -> list[Journal]:
        """What each sent and learned in all runs."""
        return [_journal(noted) for noted in self.ask("journal")]

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
def gathered(assignments: Sequence[Assignment]) -> Iterator[Crowd]:
    """A crowd of writers, ready."""
    crowd = Crowd([("scripts.bench.client", json.dumps(asdict(each))) for each in assignments])
    with ended_at_last(crowd):
        yield crowd


@contextlib.contextmanager
def ended_at_last(crowd: Crowd) -> Iterator[None]:
    """Wait until the crowd is ready, and end it with the `with`."""
    try:
        crowd.wait_until_ready()
        yield
    except BaseException:
        crowd.kill()
        raise
    finally:
        crowd.close()


def _journal(noted: dict[str, Any]) -> Journal:
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
