"""One measured process whose many asyncio tasks share one `AsyncClient`.

Run by a crowd as `python -m scripts.bench.taskwriter ASSIGNMENT`, the assignment as JSON. It makes
a session for each task, prints `ready` and takes lines from standard input:

    go START_NS FROM_NS END_NS     from FROM on, of the machine's monotonic clock, each task appends
                                   its messages; END is of no concern. The answer is a Share
    callbacks                      the same once more over a new client whose callbacks are timed;
                                   the answer is the longest one's processor time in milliseconds
    journal                        what was sent and answered so far, as a line of JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luludb.errors import LuludbError
from luludb_client import AsyncClient
from luludb_client.async_link import AsyncLink
from scripts.bench.rows import Message, Session, endless_messages, sessions_of
from scripts.bench.share import Share, send_share
from scripts.load.conversations import Conversation
from scripts.load.journal import digest_of

TIMEOUT_S = 60.0
CALLBACKS = ("_readable", "_writable", "_timed", "_turn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the tasks do.

    Attributes:
        home: where they write.
        loop: `asyncio` or `uvloop`.
        tasks: how many.
        messages: that each appends in a run.
        conversations: a file made by `scripts.load.crowd.deal`.
    """

    home: str
    loop: str
    tasks: int
    messages: int
    conversations: str


def writing(assignment: Assignment) -> tuple[str, str]:
    """The module of the process and its assignment, for a Crowd."""
    return "scripts.bench.taskwriter", json.dumps(asdict(assignment))


class TaskWriter:
    """The tasks' messages, and all that they sent and learned."""

    def __init__(self, assignment: Assignment) -> None:
        dealt = json.loads(Path(assignment.conversations).read_text(encoding="utf-8"))
        conversations = [Conversation(*columns) for columns in dealt]
        self.assignment = assignment
        self.client = AsyncClient(assignment.home, timeout_s=TIMEOUT_S)
        self.sessions: list[Session] = sessions_of(conversations, assignment.tasks)
        self.messages: Iterator[Message] = endless_messages(conversations, self.sessions)
        self.sent: list[Message] = []
        self.errors: dict[str, str] = {}

    async def prepare(self) -> None:
        """Make the sessions."""
        async with asyncio.TaskGroup() as group:
            for id, name, status, working_dir, _, _ in self.sessions:
                group.create_task(
                    self.client.create_session(name, working_dir, id=id, status=status)
                )

    async def run(self, client: AsyncClient, from_ns: int) -> Share:
        """All tasks at once, from `from_ns` until the last one is done."""
        latencies_ms = array("d")
        errors: Counter[str] = Counter()
        await asyncio.sleep(max(0, from_ns - time.perf_counter_ns()) / 1e9)
        began_ns = time.perf_counter_ns()
        async with asyncio.TaskGroup() as group:
            for session in self.sessions:
                group.create_task(self._append(client, session[0], latencies_ms, errors))
        seconds = (time.perf_counter_ns() - began_ns) / 1e9
        return Share(len(latencies_ms) - errors.total(), seconds, latencies_ms, errors)

    async def _append(
        self,
        client: AsyncClient,
        session_id: str,
        latencies_ms: array[float],
        errors: Counter[str],
    ) -> None:
        clock, append, sent = time.perf_counter_ns, client.append_message, self.sent
        for _ in range(self.assignment.messages):
            id, _, role, content, timestamp = next(self.messages)
            began = clock()
            sent.append((id, session_id, role, content, timestamp))
            try:
                await append(session_id, role, content, id=id, timestamp=timestamp)
            except LuludbError as error:
                self.errors[id] = error.code
                errors[error.code] += 1
            latencies_ms.append((clock() - began) / 1e6)

    async def longest_callback_ms(self) -> float:
        """The most processor time that one callback of the client's own took in one more run."""
        longest_s = [0.0]
        for name in CALLBACKS:
            setattr(AsyncLink, name, _timed(getattr(AsyncLink, name), longest_s))
        async with AsyncClient(self.assignment.home, timeout_s=TIMEOUT_S) as client:
            await self.run(client, 0)
        return longest_s[0] * 1000

    def journal(self) -> dict[str, Any]:
        """What was sent, as digests, and what was answered."""
        return {
            "sessions": {session[0]: digest_of(*session[1:4]) for session in self.sessions},
            "messages": {
                message[0]: [message[1], digest_of(*message[1:])] for message in self.sent
            },
            "errors": self.errors,
        }


def _timed(callback: Callable[[Any], None], longest_s: list[float]) -> Callable[[Any], None]:
    def timed(link: Any) -> None:
        began_s = time.thread_time()
        callback(link)
        longest_s[0] = max(longest_s[0], time.thread_time() - began_s)

    return timed


def new_loop_of(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes an event loop of that name."""
    if name == "uvloop":
        import uvloop  # only where it is asked for

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def main() -> None:
    """Do the assignment of the first argument until standard input ends."""
    assignment = Assignment(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=new_loop_of(assignment.loop)) as runner:
        writer = TaskWriter(assignment)
        runner.run(writer.prepare())
        print("ready", flush=True)
        for line in sys.stdin:
            match line.split():
                case ["go", _, from_ns, _]:
                    send_share(runner.run(writer.run(writer.client, int(from_ns))))
                case ["callbacks"]:
                    print(json.dumps(runner.run(writer.longest_callback_ms())), flush=True)
                case ["journal"]:
                    print(json.dumps(writer.journal()), flush=True)
                case other:
                    raise ValueError(f"line is {other!r}")
        runner.run(writer.client.close())


if __name__ == "__main__":
    main()
