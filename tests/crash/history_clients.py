"""The clients of the history checker, each a process: random commands of every op, recorded.

    python -m tests.crash.history_clients blocking|library|wire HOME HISTORY NUMBER SEED TIMEOUT_S

Runs until its standard input ends, then waits for what is unanswered and exits with 0.
"""

from __future__ import annotations

import functools
import json
import os
import random
import select
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgpack
import zmq

from luludb_client import Client, LuludbError
from luludb_client.operations import free_operation
from tests.crash.history_records import Recorder

ANSWER_MS = 1000  # without one, a wire client gives its connection up
SHARED = 8
WINDOW = 32
UNKEPT = frozenset({"busy", "overloaded", "shutting_down", "out_of_order", "stale_connection"})
KEPT = frozenset({"invalid", "unknown_op", "not_found", "already_exists", "too_large"})


class Commands:
    """Random commands, some on rows of the client's own, some on rows that all clients touch."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self._name = f"c{number}"
        self._chance = chance
        self._made = 0
        self._sessions: list[str] = []
        self._messages: list[str] = []

    def next(self) -> tuple[str, dict[str, Any]]:
        """One command; about one in twenty is a transaction."""
        if not self._sessions or self._chance.random() < 0.05:
            return self._create()
        if self._chance.random() < 0.05:
            # The first one has an id of its own, by which the whole is found in the feed.
            singles = [
                self._append_own(),
                *(self._single() for _ in range(self._chance.randrange(4))),
            ]
            return "transaction", {"commands": [list(single) for single in singles]}
        return self._single()

    def _single(self) -> tuple[str, dict[str, Any]]:
        kinds = (
            (50, self._append_own),
            (8, self._append_shared),
            (5, self._create_shared),
            (8, self._update_session),
            (3, self._delete_session),
            (10, self._update_message),
            (6, self._delete_message),
            (1, lambda: ("session.explode", {"id": self._new()})),
            (1, lambda: self._append(self._session(), self._new(), role="")),
        )
        weights = [weight for weight, _ in kinds]
        return self._chance.choices([make for _, make in kinds], weights)[0]()

    def _new(self) -> str:
        self._made += 1
        return f"{self._name}-{self._made}"

    def _session(self) -> str:
        if self._chance.random() < 0.2:
            return f"shared-{self._chance.randrange(SHARED)}"
        return self._chance.choice(self._sessions[-8:])

    def _message(self) -> str:
        if self._chance.random() < 0.1 or not self._messages:
            return f"message-{self._chance.randrange(SHARED)}"
        return self._chance.choice(self._messages[-50:])

    def _create(self, id: str | None = None) -> tuple[str, dict[str, Any]]:
        if id is None:
            id = self._new()
            self._sessions.append(id)
        return "session.create", {"id": id, "name": self._text(), "working_dir": "/ü"}

    def _create_shared(self) -> tuple[str, dict[str, Any]]:
        return self._create(f"shared-{self._chance.randrange(SHARED)}")

    def _append(self, session_id: str, id: str, role: str = "user") -> tuple[str, dict[str, Any]]:
        args = {"id": id, "session_id": session_id, "role": role, "content": self._text()}
        return "message.append", args

    def _append_own(self) -> tuple[str, dict[str, Any]]:
        id = self._new()
        self._messages.append(id)
        return self._append(self._session(), id)

    def _append_shared(self) -> tuple[str, dict[str, Any]]:
        return self._append(self._session(), f"message-{self._chance.randrange(SHARED)}")

    def _update_session(self) -> tuple[str, dict[str, Any]]:
        column = self._chance.choice(("name", "status", "working_dir"))
        return "session.update", {"id": self._session(), column: self._text()[:60]}

    def _delete_session(self) -> tuple[str, dict[str, Any]]:
        if self._chance.random() < 0.7:
            return "session.delete", {"id": f"shared-{self._chance.randrange(SHARED)}"}
        return "session.delete", {"id": self._chance.choice(self._sessions)}

    def _update_message(self) -> tuple[str, dict[str, Any]]:
        return "message.update", {"id": self._message(), "content": self._text()}

    def _delete_message(self) -> tuple[str, dict[str, Any]]:
        return "message.delete", {"id": self._message()}

    def _text(self) -> str:
        self._made += 1
        text = f"{self._name} {self._made} é"
        return text if self._chance.random() < 0.9 else text + "x" * self._chance.randrange(9000)


def is_over() -> bool:
    """Whether the process that started this one wants it to end."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def run_blocking_client(
    home: Path, recorder: Recorder, commands: Commands, timeout_s: float
) -> None:
    """Send through `luludb_client`, and wait for each reply before the next command."""
    with Client(home, timeout_s=timeout_s) as client:
        number = 0
        while not is_over():
            number += 1
            op, args = commands.next()
            recorder.note("q", number, op, args)
            try:
                # What every blocking method calls: the checker needs the reply's whole body.
                body = client._write(free_operation(op, args))
            except LuludbError as error:
                note_error(recorder, number, error)
            else:
                recorder.note("a", number, 0, body)


def run_library_client(
    home: Path, recorder: Recorder, commands: Commands, timeout_s: float
) -> None:
    """Submit through `luludb_client`, up to a window at a time."""
    places = threading.Semaphore(WINDOW)

    def note(number: int, future: Future[dict[str, Any]]) -> None:
        error = future.exception()
        if error is None:
            recorder.note("a", number, 0, future.result())
        else:
            note_error(recorder, number, error)
        places.release()

    with Client(home, timeout_s=timeout_s) as client:
        number = 0
        while not is_over():
            places.acquire()
            number += 1
            op, args = commands.next()
            recorder.note("q", number, op, args)
            client.submit(op, **args).add_done_callback(functools.partial(note, number))
        for _ in range(WINDOW):
            places.acquire()


def note_error(recorder: Recorder, number: int, error: BaseException) -> None:
    """Note a refusal as the answer that it is, and anything else as an error."""
    if isinstance(error, LuludbError) and error.code in KEPT:
        details = {key: error.details[key] for key in ("index",) if key in error.details}
        recorder.note("a", number, 1, {"code": error.code, **details})
    else:
        recorder.note("e", number, getattr(error, "code", repr(error)))


class WireClient:
    """Speaks the protocol by hand, sends much twice, and asks again for what it was told."""

    def __init__(
        self,
        home: Path,
        recorder: Recorder,
        commands: Commands,
        chance: random.Random,
        timeout_s: float,
    ) -> None:
        self._home = home
        self._timeout_s = timeout_s
        self._recorder = recorder
        self._commands = commands
        self._chance = chance
        self._client_id = os.urandom(16)
        self._seq = 0
        self._acked = 0
        self._sent: dict[int, tuple[str, dict[str, Any]]] = {}
        self._answered: set[int] = set()
        self._context = zmq.Context()
        self._socket: Any = None

    def run(self) -> None:
        """Go on until it is over and everything is answered."""
        self._connect()
        while not is_over() or self._open():
            if len(self._open()) < WINDOW and not is_over():
                self._send_new()
            if self._chance.random() < 0.1:
                self._ask_again()
            self._receive()
        self._socket.close()
        self._context.term()

    def _open(self) -> list[int]:
        return [seq for seq in self._sent if seq not in self._answered]

    def _connect(self) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        while not self._is_greeted():
            if time.monotonic() > deadline_s:
                raise TimeoutError("no daemon answered a hello")
        for seq in self._open():
            self._send_seq(seq)

    def _is_greeted(self) -> bool:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        try:
            discovery = json.loads((self._home / "run" / "daemon.json").read_bytes())
        except FileNotFoundError:
            self._socket.poll(20)
            return False
        self._socket.connect(discovery["command"])
        self._send_frame(0, "hello", {})
        if not self._socket.poll(ANSWER_MS):
            return False
        _, _, status, body = msgpack.unpackb(self._socket.recv())
        if status == 0 and body["last_seq"] < max(self._answered, default=0):
            self._recorder.note("e", 0, f"lost writes: {body}, answered {max(self._answered)}")
        return bool(status == 0)

    def _send_frame(self, seq: int, op: str, args: dict[str, Any]) -> None:
        frame = msgpack.packb([1, self._client_id, seq, self._acked, op, args])
        for _ in range(2 if seq and self._chance.random() < 0.1 else 1):
            self._socket.send(frame)

    def _send_seq(self, seq: int) -> None:
        self._send_frame(seq, *self._sent[seq])

    def _send_new(self) -> None:
        first = self._seq + 1
        for _ in range(self._chance.choice((1, 1, 2, 8))):
            self._seq += 1
            self._sent[self._seq] = self._commands.next()
            self._recorder.note("q", self._seq, *self._sent[self._seq])
        new = range(first, self._seq + 1)
        if self._chance.random() < 0.5:
            elements = [list(self._sent[seq]) for seq in new]
            self._send_frame(first, "pipeline", {"commands": elements})
        else:
            for seq in new:
                self._send_seq(seq)

    def _ask_again(self) -> None:
        if self._sent:
            self._send_seq(self._chance.choice(list(self._sent)))
        if self._chance.random() < 0.05:
            self._connect()

    def _receive(self) -> None:
        if not self._socket.poll(ANSWER_MS if self._open() else 0):
            if self._open():
                self._connect()
            return
        is_refused = False
        while self._socket.poll(0):
            _, seq, status, body = msgpack.unpackb(self._socket.recv())
            replies = body.get("replies", [[status, body]])
            for offset, (each_status, each_body) in enumerate(replies):
                is_refused |= not self._is_outcome(seq + offset, each_status, each_body)
        if is_refused:
            self._connect()
        self._acknowledge()

    def _is_outcome(self, seq: int, status: int, body: dict[str, Any]) -> bool:
        if status == 1 and body["code"] in UNKEPT:
            return False
        if status == 1 and body["code"] not in KEPT:
            self._recorder.note("e", seq, body["code"])
            return True
        if seq:
            self._recorder.note("a", seq, status, body)
            self._answered.add(seq)
        return True

    def _acknowledge(self) -> None:
        # Some replies are left unacknowledged for a while, to be asked for again.
        if len(self._sent) < 4 * WINDOW and self._chance.random() < 0.7:
            return
        while self._acked + 1 in self._answered:
            self._acked += 1
            del self._sent[self._acked]
            if self._acked > 1:
                self._answered.discard(self._acked - 1)


def main() -> None:
    kind, home, history, number, seed, timeout_s = sys.argv[1:]
    chance = random.Random(f"{seed} {number}")
    commands = Commands(int(number), chance)
    recorder = Recorder(Path(history))
    match kind:
        case "blocking":
            run_blocking_client(Path(home), recorder, commands, float(timeout_s))
        case "library":
            run_library_client(Path(home), recorder, commands, float(timeout_s))
        case _:
            WireClient(Path(home), recorder, commands, chance, float(timeout_s)).run()
    recorder.note("end")
    recorder.close()


if __name__ == "__main__":
    main()
