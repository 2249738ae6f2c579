"""`Core` against a model of the daemon, over connections that break, lag and lose replies."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from luludb.commands import PIPELINE, split_pipeline
from luludb.errors import (
    Busy,
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    LuludbError,
    OutcomeUnknown,
    Overloaded,
    ShuttingDown,
)
from luludb.model import Outcome
from luludb.wire import decode_request, encode_body, encode_content, encode_pipeline_body
from luludb.wire import encode_reply as frame_reply
from luludb_client.alone import answered, request_alone
from luludb_client.core import Core
from luludb_client.line import Command

PASSING = {error.code: error for error in (Busy, DiskFull, Overloaded, ShuttingDown)}
NOT_APPLIED = (Busy, DiskFull, Overloaded, ShuttingDown, DaemonUnavailable)


class ModelClient:
    """What the daemon keeps of one client_id."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.acked = 0
        self.kept: dict[int, tuple[str, Outcome]] = {}
        self.connection: object = None


class ModelDaemon:
    """The contract's daemon: what it answers to a frame, without a database."""

    def __init__(self) -> None:
        self.clients: dict[bytes, ModelClient] = {}
        self.applied: list[str] = []
        self.refusals: deque[str] = deque()  # codes for the commands that come next
        self.reused = 0

    def answer(self, connection: object, frame: bytes) -> bytes:
        request = decode_request(frame)
        if request.seq == 0:
            return frame_reply(0, self._hello(connection, request.client_id))
        if request.op != PIPELINE:
            outcome = self._command(connection, request, request.seq, request.op, request.args)
            return frame_reply(request.seq, outcome)
        outcomes = [
            self._command(connection, request, request.seq + index, op, args)
            for index, (op, args) in enumerate(split_pipeline(request.args))
        ]
        return frame_reply(request.seq, Outcome(0, encode_pipeline_body(outcomes, "normal")))

    def _hello(self, connection: object, client_id: bytes) -> Outcome:
        if self.refusals and client_id not in self.clients:
            return refused(self.refusals.popleft())
        registered = client_id not in self.clients
        client = self.clients.setdefault(client_id, ModelClient())
        client.connection = connection
        return done(
            registered=registered,
            protocol=1,
            database_id="d",
            last_seq=client.last_seq,
            last_rev=len(self.applied),
        )

    def _command(
        self, connection: object, request: Any, seq: int, op: str, args: dict[str, Any]
    ) -> Outcome:
        client = self.clients.get(request.client_id)
        if client is None:
            return refused("unknown_client")
        client.acked = max(client.acked, min(request.acked, client.last_seq))
        if seq <= client.last_seq:
            text, outcome = client.kept[seq]
            self.reused += text != args["text"]
            if seq <= client.acked or text != args["text"]:
                return refused("sequence_reused")
            return outcome
        if seq > client.last_seq + 1:
            return refused("out_of_order")
        if client.connection is not connection:
            return refused("stale_connection")
        if self.refusals:
            return refused(self.refusals.popleft())
        client.last_seq = seq
        if op == "bad":
            outcome = refused("not_found")
        else:
            self.applied.append(args["text"])
            outcome = done(rev=len(self.applied), text=args["text"])
        client.kept[seq] = (args["text"], outcome)
        return outcome


def done(**body: Any) -> Outcome:
    return Outcome(0, encode_body(body))


def refused(code: str) -> Outcome:
    return Outcome(1, encode_body({"code": code, "message": "as the test wants it"}))


class Connection:
    """Frames under way, each direction in order."""

    def __init__(self) -> None:
        self.to_daemon: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()


class CoreStates(RuleBasedStateMachine):
    """Anything may happen to frames but to be changed, or to overtake on one connection."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.core = Core()
        self.daemon = ModelDaemon()
        self.connection: Connection | None = None
        self.left: list[Connection] = []  # closed by the client; their frames may still arrive
        self.commands: list[Command] = []
        self.texts: list[str] = []
        self.was_forgotten = False

    # What callers do.

    @rule(
        timeout_s=st.sampled_from([0.4, 3.0, 60.0]),
        op=st.sampled_from(["good", "good", "good", "bad"]),
        count=st.integers(1, 5),
    )
    def submit(self, timeout_s: float, op: str, count: int) -> None:
        if self.core.fatal is not None:
            return
        for _ in range(count):
            text = f"{len(self.commands)}"
            content = encode_content(op, {"text": text})
            command = Command((content, text, False, 1), self.now_s, timeout_s)
            self.core.submit(command)
            self.commands.append(command)
            self.texts.append(text)

    @precondition(lambda self: self.connection is not None and self.core.is_ready)
    @rule(
        timeout_s=st.sampled_from([0.4, 3.0, 60.0]),
        op=st.sampled_from(["good", "good", "bad"]),
        what=st.sampled_from(["answered", "answered", "waits", "lost", "cut short"]),
    )
    def call_alone(self, timeout_s: float, op: str, what: str) -> None:
        """A blocking call, which sends at once where nothing else is in line."""
        text = f"{len(self.commands)}"
        content = encode_content(op, {"text": text})
        command = Command((content, text, False, 1), self.now_s, timeout_s)
        payload = request_alone(self.core, content, False, self.now_s)
        if payload is None:
            return
        self.commands.append(command)
        self.texts.append(text)
        connection = self.connection
        assert connection is not None
        if what == "answered" and not connection.to_daemon and not connection.to_client:
            reply = self.daemon.answer(connection, payload)
            command.outcome = answered(self.core, reply)
            if command.outcome is None:
                self.core.adopt(command, self.now_s)
                self.core.receive(reply, self.now_s)
                self.tick()
            return
        self.core.adopt(command, self.now_s)
        if what == "waits":
            connection.to_daemon.append(payload)
        elif what == "cut short":
            self.leave()

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.1, 6.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.tick()

    # What the driver does.

    @rule(rounds=st.sampled_from([1, 2, 4]))
    def go_on(self, rounds: int) -> None:
        """Let everything work for a while, as it mostly does."""
        for _ in range(rounds):
            if self.connection is None:
                self.connect()
            self.write(4)
            if self.connection is not None and self.connection.to_daemon:
                self.deliver(4, lost=False)
            if self.connection is not None and self.connection.to_client:
                self.receive(4)
            self.pass_time(0.01)

    @precondition(lambda self: self.connection is None)
    @rule()
    def connect(self) -> None:
        self.connection = Connection()
        self.core.connected(self.now_s)

    @precondition(lambda self: self.connection is not None)
    @rule(count=st.integers(1, 4))
    def write(self, count: int) -> None:
        for _ in range(count):
            frame = self.core.next_frame(self.now_s)
            if frame is None:
                return
            self.core.began(frame, self.now_s)
            assert self.connection is not None
            self.connection.to_daemon.append(frame.payload)

    @precondition(lambda self: self.connection is not None)
    @rule()
    def write_cut_short(self) -> None:
        frame = self.core.next_frame(self.now_s)
        if frame is not None:
            self.core.began(frame, self.now_s)
        self.leave()

    @precondition(lambda self: self.connection is not None and self.connection.to_client)
    @rule(count=st.integers(1, 4))
    def receive(self, count: int) -> None:
        for _ in range(count):
            if self.connection is not None and self.connection.to_client:
                self.core.receive(self.connection.to_client.popleft(), self.now_s)
        self.tick()

    # What the network and the daemon do.

    @precondition(lambda self: self.connection is not None and self.connection.to_daemon)
    @rule(count=st.integers(1, 4), lost=st.booleans())
    def deliver(self, count: int, lost: bool) -> None:
        for _ in range(count):
            assert self.connection is not None
            if self.connection.to_daemon:
                reply = self.daemon.answer(self.connection, self.connection.to_daemon.popleft())
                if not lost:
                    self.connection.to_client.append(reply)

    @precondition(lambda self: any(each.to_daemon for each in self.left))
    @rule(data=st.data())
    def deliver_late(self, data: st.DataObject) -> None:
        waiting = [each for each in self.left if each.to_daemon]
        connection = data.draw(st.sampled_from(waiting))
        self.daemon.answer(connection, connection.to_daemon.popleft())

    @rule()
    def leave_a_hello_behind(self) -> None:
        """Give up a connection whose hello arrives after that of the next one."""
        if self.connection is not None:
            self.leave()
        self.connect()
        self.write(1)
        self.leave()
        self.go_on(2)
        for connection in self.left:
            while connection.to_daemon:
                self.daemon.answer(connection, connection.to_daemon.popleft())

    @precondition(lambda self: self.connection is not None)
    @rule()
    def leave(self) -> None:
        """Close the connection on the client's side; what was sent may arrive later."""
        assert self.connection is not None
        self.left.append(self.connection)
        self.connection = None
        self.core.disconnected()

    @rule()
    def restart_daemon(self) -> None:
        """End every connection; the database stays."""
        self.left.clear()
        self.connection = None
        self.core.disconnected()
        for client in self.daemon.clients.values():
            client.connection = None

    @rule(code=st.sampled_from(sorted(PASSING)), count=st.integers(1, 6))
    def refuse(self, code: str, count: int) -> None:
        self.daemon.refusals.extend([code] * count)

    @rule()
    def forget(self) -> None:
        """Forget all clients, after days in which every late frame has arrived."""
        self.left.clear()
        self.daemon.clients.clear()
        self.was_forgotten = True

    # What must be true.

    @invariant()
    def each_command_is_applied_at_most_once_and_in_order(self) -> None:
        applied = [int(text) for text in self.daemon.applied]
        assert applied == sorted(set(applied))

    @invariant()
    def no_seq_is_used_for_two_commands(self) -> None:
        assert self.daemon.reused == 0

    @invariant()
    def outcomes_are_true(self) -> None:
        applied = set(self.daemon.applied)
        for command, text in zip(self.commands, self.texts, strict=True):
            outcome = command.outcome
            if isinstance(outcome, dict):
                assert outcome["text"] == text
                assert self.daemon.applied[outcome["rev"] - 1] == text
            elif isinstance(outcome, NOT_APPLIED):
                assert text not in applied

    @invariant()
    def nobody_waits_beyond_the_deadline(self) -> None:
        for command in self.commands:
            assert command.outcome is not None or self.now_s < command.deadline_s + 7

    @invariant()
    def the_line_counts_right(self) -> None:
        line = self.core.line
        assert list(line.open) == sorted(line.open)
        assert line.idle == sum(command.flight is None for command in line.open.values())
        assert line.waiting == sum(each.outcome is None for each in self.commands)
        assert line.bytes == sum(len(c.content) for c in [*line.open.values(), *line.unsent])

    def tick(self) -> None:
        self.core.tick(self.now_s)
        self.core.ended.clear()
        if self.core.wants_reconnect and self.connection is not None:
            self.leave()

    def teardown(self) -> None:
        """When all is well again every command gets its outcome, and nothing stays in line."""
        self.daemon.refusals.clear()
        for _ in range(400):
            if not len(self.core.line):
                break
            self.go_on(1)
            self.pass_time(0.05)
        assert not len(self.core.line)
        if self.core.fatal is not None:
            # Forgotten, registered again by a hello whose reply was lost, and found known by the
            # next one: that cannot be told from a database that went back to an earlier state.
            assert self.was_forgotten
            assert isinstance(self.core.fatal, DataLoss)
            return
        for command in self.commands:
            assert command.outcome is not None
            if isinstance(command.outcome, LuludbError):
                assert isinstance(command.outcome, (OutcomeUnknown, *NOT_APPLIED)) or (
                    command.outcome.code == "not_found"
                )
        self.each_command_is_applied_at_most_once_and_in_order()
        self.outcomes_are_true()


TestCoreStates = pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.NonInteractiveExampleWarning"
)(CoreStates.TestCase)
TestCoreStates.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
