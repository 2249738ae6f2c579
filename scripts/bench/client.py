"""One measured client process: the same lean loop for every system.

Run by `crowd` as `python -m scripts.bench.client ASSIGNMENT`, the assignment as JSON. It connects,
makes its sessions, prints `ready` and takes lines from standard input:

    go START_NS FROM_NS END_NS     writes from START on; what ends after FROM is measured; ends at
                                   END; all of the machine's monotonic clock. The answer is a
                                   Share
    ends                           when each call of the last blocking run returned, by message id
    journal                        what was sent and answered so far; like the ends a line of JSON
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luludb.errors import LuludbError
from scripts.bench.rows import Message, Session, endless_messages, sessions_of
from scripts.bench.share import Share, send_share
from scripts.bench.systems import CallFailed, system
from scripts.load.conversations import Conversation
from scripts.load.journal import digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What one client does.

    Attributes:
        system: its name in `systems`.
        directory: where the system's server and files are.
        durability: `normal` or `full`.
        mode: `blocking`, one call a message; `paced`, the same with `size` milliseconds between;
            `window`, `size` futures under way; `together`, transactions of `size` messages;
            `endless`, one transaction for all.
        size: see `mode`.
        conversations: a file made by `scripts.load.crowd.deal`.
    """

    system: str
    directory: str
    durability: str
    mode: str
    size: int
    conversations: str


@dataclass(slots=True)
class Record:
    """What happened to the calls of one client in one run, one item of each array a call.

    Attributes:
        latencies_ms: from before the call to after it, failed ones too.
        ends_ns: when it returned.
        rows: how many messages it got acknowledged; 0 of a failed one.
        busy_ns: time inside the system, where that is what counts; else 0.
    """

    latencies_ms: array[float] = field(default_factory=lambda: array("d"))
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    errors: Counter[str] = field(default_factory=Counter)
    busy_ns: int = 0


class Writer:
    """A client with its endless messages, and all that it sent and learned."""

    def __init__(self, client: Any, conversations: list[Conversation]) -> None:
        self.client = client
        self.sessions: list[Session] = sessions_of(conversations)
        self.messages: Iterator[Message] = endless_messages(conversations, self.sessions)
        self.sent: list[Message] = []
        self.errors: dict[str, str] = {}
        self._run: tuple[int, array[int]] = (
            0,
            array("q"),
        )  # of the last: its first message, its ends

    def prepare(self) -> None:
        """Make the sessions."""
        for session in self.sessions:
            self.client.create_session(session)

    def write(self, mode: str, size: int, end_ns: int) -> Record:
        """Write until `end_ns`; calls under way then are waited for."""
        record = Record()
        self._run = len(self.sent), record.ends_ns
        match mode:
            case "blocking":
                self._write_blocking(record, end_ns)
            case "paced":
                self._write_blocking(record, end_ns, pause_s=size / 1000)
            case "window":
                self._write_window(record, end_ns, size)
            case "together":
                self._write_together(record, end_ns, size)
            case "endless":
                self._write_endless(record, end_ns, size)
            case _:
                raise ValueError(f"mode is {mode!r}")
        return record

    def _write_blocking(self, record: Record, end_ns: int, *, pause_s: float = 0.0) -> None:
        clock, append, sent = time.perf_counter_ns, self.client.append, self.sent
        for message in self.messages:
            began = clock()
            if began >= end_ns:
                return
            sent.append(message)
            try:
                append(message)
            except CallFailed as error:
                ended = clock()
                record.rows.append(0)
                self._note_failure(record, [message], str(error))
            else:
                ended = clock()
                record.rows.append(1)
            record.latencies_ms.append((ended - began) / 1e6)
            record.ends_ns.append(ended)
            if pause_s:
                time.sleep(pause_s)

    def _write_together(self, record: Record, end_ns: int, size: int) -> None:
        clock, append_together = time.perf_counter_ns, self.client.append_together
        while True:
            messages = list(itertools.islice(self.messages, size))
            began = clock()
            if began >= end_ns:
                return
            self.sent += messages
            try:
                append_together(messages)
            except CallFailed as error:
                ended = clock()
                record.rows.append(0)
                self._note_failure(record, messages, str(error))
            else:
                ended = clock()
                record.rows.append(size)
            record.latencies_ms.append((ended - began) / 1e6)
            record.ends_ns.append(ended)

    def _write_window(self, record: Record, end_ns: int, size: int) -> None:
        clock, submit, sent = time.perf_counter_ns, self.client.submit, self.sent
        under_way: deque[tuple[Future[Any], int, Message]] = deque()
        for message in self.messages:
            began = clock()
            if began >= end_ns:
                break
            sent.append(message)
            under_way.append((submit(message), began, message))
            if len(under_way) == size:
                self._settle(record, *under_way.popleft())
        while under_way:
            self._settle(record, *under_way.popleft())

    def _settle(self, record: Record, future: Future[Any], began: int, message: Message) -> None:
        try:
            future.result()
        except LuludbError as error:
            record.rows.append(0)
            self._note_failure(record, [message], error.code)
        else:
            record.rows.append(1)
        ended = time.perf_counter_ns()
        record.latencies_ms.append((ended - began) / 1e6)
        record.ends_ns.append(ended)

    def _write_endless(self, record: Record, end_ns: int, size: int) -> None:
        """One transaction. Only the time inside the system counts, not that of making the rows."""
        clock, client = time.perf_counter_ns, self.client
        began = clock()
        client.begin()
        busy_ns = clock() - began
        while clock() < end_ns:
            messages = list(itertools.islice(self.messages, size))
            self.sent += messages
            began = clock()
            client.add(messages)
            ended = clock()
            busy_ns += ended - began
            record.rows.append(size)
            record.latencies_ms.append((ended - began) / 1e6)
            record.ends_ns.append(ended)
        began = clock()
        client.commit()
        record.busy_ns = busy_ns + clock() - began

    def _note_failure(self, record: Record, messages: list[Message], code: str) -> None:
        record.errors[code] += 1
        for message in messages:
            self.errors[message[0]] = code

    def ends(self) -> dict[str, int]:
        """When each call of the last run returned, where that was one call a message."""
        first, ends_ns = self._run
        return {
            message[0]: ended for message, ended in zip(self.sent[first:], ends_ns, strict=True)
        }

    def journal(self) -> dict[str, Any]:
        """What was sent, as digests, and what was answered."""
        return {
            "sessions": {session[0]: digest_of(*session[1:4]) for session in self.sessions},
            "messages": {
                message[0]: [message[1], digest_of(*message[1:])] for message in self.sent
            },
            "errors": self.errors,
        }


def run(
    writer: Writer, assignment: Assignment, *, start_ns: int, from_ns: int, end_ns: int
) -> None:
    """One run, and its answer on standard output."""
    time.sleep(max(0, start_ns - time.perf_counter_ns()) / 1e9)
    if assignment.mode == "endless":
        # A transaction cannot be measured from its middle: one for the warm-up, one that counts.
        writer.write(assignment.mode, assignment.size, from_ns)
    record = writer.write(assignment.mode, assignment.size, end_ns)
    is_counted = record.busy_ns > 0
    measured = [
        number for number, ended in enumerate(record.ends_ns) if is_counted or ended >= from_ns
    ]
    latencies = array("d", (record.latencies_ms[number] for number in measured))
    acknowledged = sum(
        record.rows[number] for number in measured if is_counted or record.ends_ns[number] <= end_ns
    )
    seconds = (record.busy_ns or end_ns - from_ns) / 1e9
    send_share(Share(acknowledged, seconds, latencies, record.errors))


def main() -> None:
    """Do the assignment of the first argument until standard input ends."""
    assignment = Assignment(**json.loads(sys.argv[1]))
    dealt = json.loads(Path(assignment.conversations).read_text(encoding="utf-8"))
    conversations = [Conversation(*columns) for columns in dealt]
    with system(assignment.system).connected(
        Path(assignment.directory), assignment.durability
    ) as client:
        writer = Writer(client, conversations)
        writer.prepare()
        print("ready", flush=True)
        for line in sys.stdin:
            match line.split():
                case ["go", start_ns, from_ns, end_ns]:
                    run(
                        writer,
                        assignment,
                        start_ns=int(start_ns),
                        from_ns=int(from_ns),
                        end_ns=int(end_ns),
                    )
                case ["ends"]:
                    print(json.dumps(writer.ends()), flush=True)
                case ["journal"]:
                    print(json.dumps(writer.journal()), flush=True)
                case other:
                    raise ValueError(f"line is {other!r}")


if __name__ == "__main__":
    main()
