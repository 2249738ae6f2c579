"""What one client_id sends next and what the daemon's answers mean: no I/O, no clock.

A driver connects, writes `next_frame`, tells by `began` that its first byte was written, gives
what it receives to `receive`, and calls `tick` when `due_s` has come. Times are seconds of any
monotonic clock. Commands whose outcome is decided appear in `ended`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, NamedTuple

from luludb.errors import (
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    InvalidRequest,
    LuludbError,
    OutOfOrder,
    ProtocolMismatch,
    SequenceReused,
    StaleConnection,
    UnknownClient,
    UnsupportedProtocol,
    error_from_body,
)
from luludb.ids import new_client_id
from luludb.limits import (
    GREETING_S_MAX,
    OVERDUE_FRAMES_MAX,
    RESEND_S,
    RETRY_PAUSE_S_MAX,
    RETRY_PAUSE_S_MIN,
)
from luludb.model import PROTOCOL
from luludb.wire import Reply, decode_reply, encode_content, encode_pipeline, encode_request
from luludb_client.hello import Hello, Seen, read_hello
from luludb_client.line import Command, Line, Outcome
from luludb_client.outcomes import (
    UNKEPT_CODES,
    answers_of,
    copy_of,
    good_bodies,
    is_kept,
    outcome_unknown,
    protocol_message,
)

_HELLO = encode_content("hello", {})


class Frame(NamedTuple):
    """What to write next: the payload of one ZMTP frame and its commands, none in a hello."""

    payload: bytes
    first_seq: int
    commands: Sequence[Command]


class Core:
    """One client's side of the protocol.

    Attributes:
        client_id: changes when the daemon has forgotten it.
        ended: commands with a future that got their outcome; the driver takes them out.
        fatal: the error with which this client ended for good, or None.
        is_ready: whether hello is answered and commands may be sent.
        hello_wanted: whether the next frame is a hello.
        paused_until_s: when commands may be sent again after a refusal.
        seen: what lost writes are told by.
        due_s: when `tick` has to be called next, or earlier; infinity where nothing is under way.
        wants_reconnect: whether the driver has to close the connection and make a new one.
        unavailable: why no daemon can be reached; the driver keeps it up to date.
    """

    def __init__(self, new_client_id: Callable[[], bytes] = new_client_id) -> None:
        self._new_client_id = new_client_id
        self.client_id = new_client_id()
        self.line = Line()
        self.ended: list[Command] = []
        self.fatal: LuludbError | None = None
        self.wants_reconnect = False
        self.unavailable = "no daemon was reached"
        self.is_ready = False
        self.due_s = inf
        self._is_connected = False
        self.seen = Seen()
        self.hello_wanted = False
        self._hello_sent = False
        self._hello_due_s = inf  # when a connection without an answered hello is given up
        self._refusal: LuludbError | None = None  # the passing one that holds up the line
        self._pause_s = RETRY_PAUSE_S_MIN
        self.paused_until_s = 0.0
        self._look_s = inf  # when the deadlines have to be looked at, or earlier

    # What the driver calls.

    def submit(self, command: Command) -> None:
        """Put a command in line.

        Raises:
            DataLoss, ProtocolMismatch: this client has ended.
        """
        if self.fatal is not None:
            raise copy_of(self.fatal)
        look_s = command.deadline_s - command.margin_s
        if look_s < self._look_s:
            self._look_s = look_s
            if look_s < self.due_s:
                self.due_s = look_s
        self.line.add(command)  # last: after a signal's exception it is not in line, or complete

    def adopt(self, command: Command, sent_s: float) -> None:
        """Put in line, as sent, a command that went alone and was not answered at once."""
        self._look_s = min(self._look_s, command.deadline_s - command.margin_s)
        self._be_due(min(self._look_s, sent_s + RESEND_S))
        self.line.adopt(command, sent_s)

    def connected(self, now_s: float) -> None:
        """A new connection is there; the next frame is a hello."""
        self._is_connected = True
        self._await_hello(now_s)
        self.hello_wanted = True
        self.paused_until_s = 0.0
        self.wants_reconnect = False

    def disconnected(self) -> None:
        """The connection is gone, with every answer that was under way."""
        self._is_connected = self.is_ready = False
        self.hello_wanted = self._hello_sent = False
        self._hello_due_s = inf
        self._refusal = None
        self.wants_reconnect = False
        self.line.grounded()

    def next_frame(self, now_s: float) -> Frame | None:
        """What to write now, or None. Nothing changes until `began` is called with it."""
        line = self.line
        if not (self._is_connected and (line.unsent or line.idle or self.hello_wanted)):
            return None
        if self.wants_reconnect or now_s < self.paused_until_s:
            return None
        if self.hello_wanted:
            # Answers that are under way belong before hello's: they tell what was applied.
            if line.oldest_awaited() is not None:
                return None
            return Frame(encode_request(self.client_id, 0, 0, _HELLO), 0, ())
        if not self.is_ready:
            return None
        commands = line.next_run()
        if not commands:
            return None
        first_seq = commands[0].seq or line.last_seq + 1
        if len(commands) == 1:
            content, full = commands[0].content, commands[0].full
        else:
            content = encode_pipeline([command.content for command in commands])
            full = any(command.full for command in commands)
        payload = encode_request(self.client_id, first_seq, line.acked, content, full)
        return Frame(payload, first_seq, commands)

    def began(self, frame: Frame, now_s: float) -> None:
        """Note that the first byte of `frame`, from `next_frame`, was written."""
        if frame.commands:
            self.line.began(frame.first_seq, frame.commands, now_s)
            self._be_due(now_s + RESEND_S)
        else:
            self.is_ready = self.hello_wanted = False
            self._hello_sent = True
            self._await_hello(now_s)

    def receive(self, payload: bytes, now_s: float) -> None:
        """Take one reply."""
        if self.wants_reconnect:
            return  # it may belong to what is over; what does not is asked for again
        try:
            reply = decode_reply(payload)
        except InvalidRequest:
            self.wants_reconnect = True
            return
        if reply.protocol != PROTOCOL:
            self._stop(ProtocolMismatch(protocol_message(reply.protocol)))
        elif reply.seq == 0:
            self._receive_control(reply, now_s)
        else:
            self._receive_answers(reply, now_s)

    def tick(self, now_s: float) -> None:
        """Do what is due: deadlines, and frames that were not answered."""
        if now_s >= self._look_s:
            self._look_at_deadlines(now_s)
        if now_s >= self.paused_until_s:
            self.paused_until_s = 0.0
        if now_s >= self._hello_due_s:
            self.wants_reconnect = True
        flight = self.line.oldest_awaited()
        if (
            flight is not None
            and now_s >= flight.sent_s + RESEND_S
            and self.line.overdue(flight) > OVERDUE_FRAMES_MAX
        ):
            self.wants_reconnect = True
        self.due_s = min(self._look_s, self._hello_due_s, self.paused_until_s or inf)
        if (flight := self.line.oldest_awaited()) is not None:
            self._be_due(flight.sent_s + RESEND_S)

    def abandon(self, command: Command) -> None:
        """End a command whose caller waits no longer. Once sent it stays in line, ownerless."""
        if command.outcome is not None:
            return
        if command.seq is None:
            if command in self.line.unsent:
                self._finish(command, self._unsent_error())
        else:
            command.is_ending = False
            self._decide(command, outcome_unknown(command))

    def abandon_all(self) -> None:
        """End every command, as `abandon` does."""
        for command in [*self.line.open.values(), *self.line.unsent]:
            self.abandon(command)

    # Replies.

    def _receive_control(self, reply: Reply, now_s: float) -> None:
        if not self._hello_sent:
            # Nothing but hello is sent with seq 0, so the daemon could not read a frame of ours.
            if reply.status and (flight := self.line.oldest_awaited()) is not None:
                self._refuse_whole(flight.commands, reply.body, now_s)
            return
        self._hello_sent = False
        self._hello_due_s = inf
        if reply.status:
            self._hello_refused(error_from_body(reply.body), now_s)
        else:
            self._judge(read_hello(reply.body))

    def _receive_answers(self, reply: Reply, now_s: float) -> None:
        if self._are_good(reply):
            return
        answers, count = answers_of(reply)
        flight = self.line.match(reply.seq, count)
        if flight is not None and count is None and len(flight.commands) > 1:
            self.line.landed(flight)
            self._refuse_whole(flight.commands, reply.body, now_s)
            return
        if flight is not None:
            if any(is_kept(status, body) for status, body in answers):
                self.line.overtaken(flight)
            self.line.landed(flight)
        for seq, (status, body) in enumerate(answers, reply.seq):
            command = self.line.open.get(seq)
            if is_kept(status, body):
                self._kept(seq, body)
                if command is not None:
                    self._finish(command, error_from_body(body) if status else body)
            elif command is not None and flight is not None:
                # Without a flight it may be the second answer to a frame that came twice.
                self._refused(command, error_from_body(body), now_s)

    def _are_good(self, reply: Reply) -> bool:
        """Take a reply whole that answers the oldest flight and refuses nothing, as nearly all do.

        One by one, as the rest of this class does it, each command takes 4,500 instructions more.
        """
        flights = self.line.flights
        if not flights or flights[0].first_seq != reply.seq or flights[0].is_overdue:
            return False
        bodies = good_bodies(reply)
        if bodies is None or len(bodies) != len(flights[0].commands):
            return False
        # Revs rise in the order of the seqs, so the last body tells of all.
        self._kept(reply.seq + len(bodies) - 1, bodies[-1])
        self.line.answered(flights[0], bodies, self.ended)
        return True

    def _kept(self, seq: int, body: dict[str, Any]) -> None:
        self.seen.kept(seq, body)
        self._refusal = None
        self._pause_s = RETRY_PAUSE_S_MIN

    def _refused(self, command: Command, error: LuludbError, now_s: float) -> None:
        """An answer that consumed no seq: the command is sent again, or brought to its end."""
        match error:
            case SequenceReused():
                self._finish(command, error)
            case UnsupportedProtocol():
                self._stop(ProtocolMismatch(error.message))
            case UnknownClient():
                command.is_unknown = command.times_sent == 1
                self.hello_wanted = True
            case StaleConnection():
                self.hello_wanted = True
            case OutOfOrder():
                # What went before it was refused or lost. It meets the same fate at its deadline.
                command.refusal = self._refusal
                self._pause(now_s)
                self._end_in_time(command, now_s)
            case _:
                command.refusal = self._refusal = error
                self._pause_s = min(2 * self._pause_s, RETRY_PAUSE_S_MAX)
                self._pause(now_s)
                if isinstance(error, DiskFull):
                    self._begin_ending(command)
                self._end_in_time(command, now_s)

    def _refuse_whole(
        self, commands: Sequence[Command], body: dict[str, Any], now_s: float
    ) -> None:
        """A frame was refused before its commands were looked at."""
        error = error_from_body(body)
        for command in commands:
            if command.seq not in self.line.open:
                continue
            if error.code in UNKEPT_CODES:
                self._refused(command, error, now_s)
            else:
                # Sending the same again would meet the same answer for ever.
                command.refusal = error
                self._begin_ending(command)

    def _pause(self, now_s: float) -> None:
        self.paused_until_s = now_s + self._pause_s
        self._be_due(self.paused_until_s)

    def _await_hello(self, now_s: float) -> None:
        self._hello_due_s = now_s + GREETING_S_MAX
        self._be_due(self._hello_due_s)

    def _be_due(self, at_s: float) -> None:
        if at_s < self.due_s:
            self.due_s = at_s

    # Ending a command on a passing refusal: only a hello on a new connection shows that it was
    # not applied and never will be.

    def _end_in_time(self, command: Command, now_s: float) -> None:
        if command.refusal is not None and now_s >= command.deadline_s - command.margin_s:
            self._begin_ending(command)

    def _begin_ending(self, command: Command) -> None:
        if command.outcome is None:
            command.is_ending = True
            self.wants_reconnect = True

    def _finish_endings(self, last_seq: int) -> None:
        ending = [command for command in self.line.open.values() if command.is_ending]
        for command in ending:
            command.is_ending = False
            assert command.seq is not None
            assert command.refusal is not None
            if command.seq > last_seq:
                self._finish(command, command.refusal)
            else:
                command.refusal = None
        behind = [command for seq, command in self.line.open.items() if seq > last_seq]
        # Looked for and not noted: a signal's exception may have left a gap the last time.
        if len(behind) != self.line.last_seq - last_seq and not self.line.flights:
            self.line.take_back(behind, last_seq)

    # Hello.

    def _hello_refused(self, error: LuludbError, now_s: float) -> None:
        if isinstance(error, UnsupportedProtocol):
            self._stop(ProtocolMismatch(error.message))
            return
        self.hello_wanted = True
        self._refusal = error
        self._pause_s = min(2 * self._pause_s, RETRY_PAUSE_S_MAX)
        self._pause(now_s)
        if isinstance(error, DiskFull):
            for command in list(self.line.unsent):
                self._finish(command, copy_of(error))

    def _judge(self, hello: Hello | None) -> None:
        if hello is None:
            self._stop(ProtocolMismatch("the daemon's answer to hello is not of protocol 1"))
            return
        if hello.protocol != PROTOCOL:
            self._stop(ProtocolMismatch(protocol_message(hello.protocol)))
            return
        if (loss := self.seen.loss(hello)) is not None:
            self._stop(DataLoss(loss))
            return
        if hello.registered and self.seen.is_registered:
            self._forgotten()
            return
        self.seen.judged(hello)
        self._finish_endings(hello.last_seq)
        self.is_ready = True
        self._refusal = None
        self._pause_s = RETRY_PAUSE_S_MIN

    def _forgotten(self) -> None:
        self.line.grounded()
        unsent = []
        for command in list(self.line.open.values()):
            if command.is_unknown and command.times_sent == 1:
                unsent.append(command)
            else:
                self._finish(command, outcome_unknown(command))
        self.line.take_back(unsent, 0)
        self.seen.forgotten()
        self.client_id = self._new_client_id()
        # On this connection an answer to the old id could be taken for one to the new.
        self.wants_reconnect = True

    # Outcomes.

    def _look_at_deadlines(self, now_s: float) -> None:
        look_s = inf  # noted at the end: until then a signal's exception leaves all of it due
        for command in [*self.line.open.values(), *self.line.unsent]:
            if command.outcome is not None:
                continue
            if now_s >= command.deadline_s:
                self.abandon(command)
                continue
            ending_s = command.deadline_s - command.margin_s
            if now_s >= ending_s:
                self._end_in_time(command, now_s)
            look_s = min(look_s, command.deadline_s if now_s >= ending_s else ending_s)
        self._look_s = look_s

    def _unsent_error(self) -> LuludbError:
        if self.fatal is not None:
            return copy_of(self.fatal)
        if self._refusal is not None:
            return copy_of(self._refusal)
        return DaemonUnavailable(self.unavailable)

    def _stop(self, error: LuludbError) -> None:
        """End this client for good, and everything in line with `error`."""
        self.fatal = error
        self.wants_reconnect = True
        for command in [*self.line.open.values(), *self.line.unsent]:
            self._finish(command, copy_of(error))

    def _finish(self, command: Command, outcome: Outcome) -> None:
        self.line.finish(command, outcome, self.ended)

    def _decide(self, command: Command, outcome: Outcome) -> None:
        if command.outcome is None:
            command.outcome = outcome
            self.line.waiting -= 1
            if command.future is not None:
                self.ended.append(command)
