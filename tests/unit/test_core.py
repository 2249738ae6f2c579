"""What a client makes of each answer. `test_core_states` has what holds whatever happens."""

from __future__ import annotations

from typing import Any

import pytest

from luludb.errors import (
    Busy,
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    LuludbError,
    NotFound,
    OutcomeUnknown,
    ProtocolMismatch,
    SequenceReused,
)
from luludb.limits import GREETING_S_MAX, OVERDUE_FRAMES_MAX, RESEND_S, RETRY_PAUSE_S_MAX
from luludb.model import Outcome
from luludb.wire import (
    decode_request,
    encode_body,
    encode_content,
    encode_pipeline_body,
    encode_reply,
)
from luludb_client.alone import answered, request_alone
from luludb_client.core import Core, Frame
from luludb_client.line import Command

HELLO = {"registered": True, "protocol": 1, "database_id": "d", "last_seq": 0, "last_rev": 0}


def hello(**changes: Any) -> bytes:
    return encode_reply(0, Outcome(0, encode_body({**HELLO, **changes})))


def done(rev: int) -> Outcome:
    return Outcome(0, encode_body({"rev": rev}))


def refused(code: str) -> Outcome:
    return Outcome(1, encode_body({"code": code, "message": f"{code} it is"}))


def pipeline(first_seq: int, *outcomes: Outcome) -> bytes:
    return encode_reply(first_seq, Outcome(0, encode_pipeline_body(outcomes, "normal")))


class Driver:
    """A core and its clock; `write` gives the requests that it would put on the wire."""

    def __init__(self) -> None:
        self.core = Core()
        self.now_s = 100.0

    def connect(self, **changes: Any) -> Driver:
        self.core.connected(self.now_s)
        assert self.write() == ["hello"]
        self.core.receive(hello(**changes), self.now_s)
        return self

    def reconnect(self, **changes: Any) -> Driver:
        self.core.disconnected()
        return self.connect(registered=False, **changes)

    def submit(self, text: str = "x", *, timeout_s: float = 10.0, full: bool = False) -> Command:
        command = self.command(text, timeout_s=timeout_s, full=full)
        self.core.submit(command)
        return command

    def command(self, text: str, *, timeout_s: float = 10.0, full: bool = False) -> Command:
        content = encode_content("good", {"text": text})
        return Command((content, text, full, 1), self.now_s, timeout_s)

    def request_alone(self, command: Command) -> bytes | None:
        return request_alone(self.core, command.content, command.full, self.now_s)

    def frame(self) -> Frame | None:
        frame = self.core.next_frame(self.now_s)
        if frame is not None:
            self.core.began(frame, self.now_s)
        return frame

    def write(self) -> list[Any]:
        written: list[Any] = []
        while (frame := self.frame()) is not None:
            request = decode_request(frame.payload)
            written.append("hello" if request.seq == 0 else (request.seq, request.acked))
        return written

    def reply(self, seq: int, outcome: Outcome) -> None:
        self.core.receive(encode_reply(seq, outcome), self.now_s)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.core.tick(self.now_s)


@pytest.fixture
def driver() -> Driver:
    return Driver().connect()


# Sending.


def test_nothing_but_hello_is_sent_before_hello_is_answered() -> None:
    driver = Driver()
    driver.submit()
    driver.core.connected(driver.now_s)

    assert driver.write() == ["hello"]


def test_a_command_alone_goes_as_a_plain_request_and_several_as_a_pipeline(driver: Driver) -> None:
    driver.submit()
    alone = driver.frame()
    driver.submit()
    driver.submit(full=True)
    several = driver.frame()

    assert alone is not None
    assert several is not None
    assert decode_request(alone.payload).op == "good"
    request = decode_request(several.payload)
    assert (request.op, len(request.args["commands"]), request.seq) == ("pipeline", 2, 2)
    assert request.options == {"durability": "full"}


def test_a_call_goes_alone_only_where_nothing_else_is_in_line(driver: Driver) -> None:
    first, second = driver.command("first"), driver.command("second")
    assert driver.request_alone(first) is not None
    driver.core.adopt(first, driver.now_s)
    assert driver.request_alone(second) is None
    assert (first.seq, second.seq) == (1, None)
    driver.reply(1, done(1))
    assert first.outcome == {"rev": 1}

    payload = driver.request_alone(second)
    assert payload is not None
    assert decode_request(payload)[2:4] == (2, 1)
    assert answered(driver.core, encode_reply(2, done(2))) == {"rev": 2}
    third = driver.submit("third")
    assert driver.write() == [(3, 2)]
    driver.reply(3, done(3))
    assert third.outcome == {"rev": 3}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(encode_reply(1, refused("not_found")), id="a-refusal"),
        pytest.param(encode_reply(7, done(1)), id="of-another-seq"),
        pytest.param(b"no reply", id="no-reply"),
    ],
)
def test_what_is_no_good_answer_to_a_call_that_went_alone_changes_nothing(
    driver: Driver, payload: bytes
) -> None:
    command = driver.command("first")
    assert driver.request_alone(command) is not None
    assert answered(driver.core, payload) is None
    assert driver.core.line.last_seq == 0


def test_a_call_that_went_alone_and_got_no_answer_is_sent_again(driver: Driver) -> None:
    command = driver.command("first")
    driver.request_alone(command)
    driver.core.adopt(command, driver.now_s)
    driver.reconnect()
    assert driver.write() == [(1, 0)]


def test_a_reply_is_the_outcome_and_moves_acked(driver: Driver) -> None:
    command = driver.submit()
    driver.write()

    driver.reply(1, done(7))
    driver.submit()

    assert command.outcome == {"rev": 7}
    assert driver.write() == [(2, 1)]


def test_a_kept_refusal_is_the_outcome_too(driver: Driver) -> None:
    command = driver.submit()
    driver.write()

    driver.reply(1, refused("not_found"))

    assert isinstance(command.outcome, NotFound)
    assert driver.core.line.acked == 1


def test_open_commands_are_sent_again_with_their_seq_on_a_new_connection(driver: Driver) -> None:
    driver.submit()
    driver.submit()
    driver.write()

    driver.reconnect(last_seq=1)

    assert driver.write() == [(1, 0)]


def test_an_overtaken_command_is_sent_again_at_once(driver: Driver) -> None:
    driver.submit()
    driver.write()
    driver.submit()
    driver.write()

    driver.reply(2, done(2))

    assert driver.write() == [(1, 0)]


def test_a_passing_refusal_that_overtakes_does_not_count_as_a_loss(driver: Driver) -> None:
    driver.submit()
    driver.write()
    driver.submit()
    driver.write()

    driver.reply(2, refused("overloaded"))
    driver.wait(RETRY_PAUSE_S_MAX)

    assert driver.write() == [(2, 0)]


def test_without_an_answer_it_is_sent_again_by_the_timer(driver: Driver) -> None:
    driver.submit()
    driver.write()

    driver.wait(RESEND_S - 0.1)
    early = driver.write()
    due_s = driver.core.due_s
    driver.wait(0.2)

    assert (early, driver.write()) == ([], [(1, 0)])
    assert due_s == 100.0 + RESEND_S


def test_a_connection_that_never_answers_is_given_up(driver: Driver) -> None:
    driver.submit(timeout_s=100.0)

    for _ in range(OVERDUE_FRAMES_MAX + 1):
        assert not driver.core.wants_reconnect
        driver.write()
        driver.wait(RESEND_S)

    assert driver.core.wants_reconnect


def test_a_hello_without_an_answer_is_given_up() -> None:
    driver = Driver()
    driver.core.connected(driver.now_s)
    driver.write()

    driver.wait(GREETING_S_MAX)

    assert driver.core.wants_reconnect


def test_a_reply_that_does_not_decode_ends_the_connection(driver: Driver) -> None:
    driver.core.receive(b"\xc1", driver.now_s)

    assert driver.core.wants_reconnect


def test_a_late_answer_to_a_frame_that_was_given_up_counts_and_so_does_that_of_its_repeat(
    driver: Driver,
) -> None:
    commands = [driver.submit(timeout_s=100.0) for _ in range(2)]
    driver.write()
    driver.wait(RESEND_S)
    commands.append(driver.submit(timeout_s=100.0))
    assert driver.write() == [(1, 0)]  # all three

    driver.core.receive(pipeline(1, done(1), done(2)), driver.now_s)
    between = [each.outcome for each in commands]
    driver.core.receive(pipeline(1, done(1), done(2), done(3)), driver.now_s)

    line = driver.core.line
    assert between == [{"rev": 1}, {"rev": 2}, None]
    assert [each.outcome for each in commands] == [{"rev": 1}, {"rev": 2}, {"rev": 3}]
    assert (len(line), line.idle, line.waiting, line.bytes) == (0, 0, 0, 0)


def test_a_late_answer_to_a_frame_that_was_given_up_and_not_repeated_yet_counts(
    driver: Driver,
) -> None:
    commands = [driver.submit(timeout_s=100.0) for _ in range(2)]
    driver.write()
    driver.wait(RESEND_S)

    driver.core.receive(pipeline(1, done(1), done(2)), driver.now_s)

    line = driver.core.line
    assert [each.outcome for each in commands] == [{"rev": 1}, {"rev": 2}]
    assert (len(line), line.idle, line.waiting, line.bytes) == (0, 0, 0, 0)


@pytest.mark.parametrize("code", [None, 7, [], {}], ids=repr)
def test_a_refusal_whose_code_is_no_text_is_an_error_without_a_class(
    driver: Driver, code: Any
) -> None:
    command, behind = driver.submit("a"), driver.submit("b")
    driver.write()

    body = encode_body({"code": code, "self": "x"})
    driver.reply(1, Outcome(0, encode_pipeline_body([Outcome(1, body), done(1)], "normal")))

    assert type(command.outcome) is LuludbError
    assert behind.outcome == {"rev": 1}


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([[0, {"rev": 1}], [0, "no map"]], id="no-map"),
        pytest.param([[0, {"rev": 1}], 7], id="no-pair"),
        pytest.param([[0, {"rev": 1}]], id="too-few"),
    ],
)
def test_a_malformed_pipeline_reply_is_no_outcome(driver: Driver, replies: list[Any]) -> None:
    commands = [driver.submit(timeout_s=100.0) for _ in range(2)]
    driver.write()

    driver.reply(1, Outcome(0, encode_body({"replies": replies})))

    assert commands[1].outcome is None


# Passing refusals.


def test_busy_is_tried_again_after_a_pause_and_in_order(driver: Driver) -> None:
    commands = [driver.submit() for _ in range(3)]
    driver.write()

    driver.core.receive(
        pipeline(1, done(1), refused("busy"), refused("out_of_order")), driver.now_s
    )
    paused = driver.write()
    driver.wait(RETRY_PAUSE_S_MAX)

    assert paused == []
    assert driver.write() == [(2, 1)]
    assert [each.outcome for each in commands] == [{"rev": 1}, None, None]


def test_pauses_grow_up_to_their_bound(driver: Driver) -> None:
    driver.submit(timeout_s=100.0)
    pauses = []
    for _ in range(8):
        driver.write()
        driver.reply(1, refused("busy"))
        pauses.append(driver.core.due_s - driver.now_s)
        driver.wait(pauses[-1])

    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] == pytest.approx(RETRY_PAUSE_S_MAX)


def test_a_second_answer_to_the_same_frame_does_no_harm(driver: Driver) -> None:
    driver.submit()
    driver.write()
    driver.reply(1, refused("busy"))
    driver.wait(RETRY_PAUSE_S_MAX)

    driver.reply(1, refused("disk_full"))

    assert not driver.core.wants_reconnect
    assert driver.write() == [(1, 0)]


def test_a_kept_reply_counts_whenever_it_comes(driver: Driver) -> None:
    command = driver.submit()
    driver.write()
    driver.reply(1, refused("busy"))

    driver.reply(1, done(1))

    assert command.outcome == {"rev": 1}
    assert driver.write() == []


def test_the_last_open_command_of_a_pipeline_gets_its_own_part_of_the_reply(
    driver: Driver,
) -> None:
    commands = [driver.submit(), driver.submit()]
    driver.write()
    driver.reply(2, done(2))

    driver.core.receive(pipeline(1, done(1), done(2)), driver.now_s)

    assert [each.outcome for each in commands] == [{"rev": 1}, {"rev": 2}]


def test_disk_full_that_nobody_waits_for_is_tried_again_after_a_pause(driver: Driver) -> None:
    driver.submit(timeout_s=1.0)
    driver.write()
    driver.wait(1.0)
    driver.reply(1, refused("disk_full"))

    at_once = driver.write()
    driver.wait(RETRY_PAUSE_S_MAX)

    assert (at_once, driver.write()) == ([], [(1, 0)])


def test_disk_full_ends_the_call_once_a_new_hello_shows_that_it_was_not_applied(
    driver: Driver,
) -> None:
    commands = [driver.submit() for _ in range(3)]
    driver.write()
    driver.core.receive(
        pipeline(1, done(1), refused("disk_full"), refused("out_of_order")), driver.now_s
    )
    undecided = commands[1].outcome

    assert driver.core.wants_reconnect
    assert driver.write() == []
    driver.reconnect(last_seq=1, last_rev=1)

    assert undecided is None
    assert isinstance(commands[1].outcome, DiskFull)
    assert commands[2].outcome is None
    assert driver.write() == [(2, 1)]  # the third one, numbered anew


def test_a_refused_command_that_was_applied_all_the_same_gets_its_kept_reply(
    driver: Driver,
) -> None:
    command = driver.submit()
    driver.write()
    driver.wait(RESEND_S)
    driver.write()  # a second time; the first one is applied, the second one is refused
    driver.reply(1, refused("disk_full"))

    driver.reconnect(last_seq=1)
    undecided = command.outcome
    again = driver.write()
    driver.reply(1, done(1))

    assert (undecided, again) == (None, [(1, 0)])
    assert command.outcome == {"rev": 1}


def test_busy_ends_the_call_in_time_for_its_deadline(driver: Driver) -> None:
    command = driver.submit(timeout_s=2.0)
    driver.write()
    driver.reply(1, refused("busy"))

    driver.wait(1.4)
    too_early = driver.core.wants_reconnect
    driver.wait(0.2)
    driver.reconnect()

    assert not too_early
    assert isinstance(command.outcome, Busy)


def test_without_a_hello_in_time_a_refused_command_has_an_unknown_outcome_and_stays(
    driver: Driver,
) -> None:
    command = driver.submit(timeout_s=2.0)
    driver.write()
    driver.reply(1, refused("disk_full"))
    driver.core.disconnected()

    driver.wait(2.0)
    driver.connect(registered=False)

    assert isinstance(command.outcome, OutcomeUnknown)
    assert driver.write() == [(1, 0)]


# Deadlines.


def test_what_was_never_sent_is_unavailable_and_leaves_the_line(driver: Driver) -> None:
    driver.core.disconnected()
    driver.core.unavailable = "start it"
    command = driver.submit(timeout_s=1.0)

    driver.wait(1.0)

    assert isinstance(command.outcome, DaemonUnavailable)
    assert "start it" in str(command.outcome)
    assert len(driver.core.line) == 0


def test_what_was_sent_has_an_unknown_outcome_and_stays_first_in_line(driver: Driver) -> None:
    command = driver.submit("abc", timeout_s=1.0)
    driver.write()

    driver.wait(1.0)
    later = driver.submit()
    driver.reconnect()
    again = driver.write()
    driver.core.receive(pipeline(1, done(1), done(2)), driver.now_s)

    outcome = command.outcome
    assert isinstance(outcome, OutcomeUnknown)
    assert (outcome.seq, outcome.id, outcome.code) == (1, "abc", "outcome_unknown")
    assert again == [(1, 0)]
    assert later.outcome == {"rev": 2}
    assert command.outcome is outcome
    assert driver.core.line.acked == 2


def test_an_unknown_outcome_blocks_nobody_behind_it_for_longer_than_his_deadline(
    driver: Driver,
) -> None:
    driver.submit(timeout_s=1.0)
    driver.write()
    driver.wait(1.0)
    later = driver.submit(timeout_s=1.0)

    driver.wait(1.0)

    assert later.outcome is not None
    assert driver.core.line.waiting == 0


# Hello.


def test_a_hello_refused_for_the_moment_is_said_again() -> None:
    driver = Driver()
    command = driver.submit(timeout_s=1.0)
    driver.core.connected(driver.now_s)
    driver.write()

    driver.reply(0, refused("busy"))
    paused = driver.write()
    driver.wait(RETRY_PAUSE_S_MAX)
    again = driver.write()
    driver.reply(0, refused("busy"))
    driver.wait(1.0)

    assert (paused, again) == ([], ["hello"])
    assert isinstance(command.outcome, Busy)


def test_a_hello_that_meets_a_full_disk_ends_what_waits_for_it() -> None:
    driver = Driver()
    command = driver.submit()
    driver.core.connected(driver.now_s)
    driver.write()

    driver.reply(0, refused("disk_full"))

    assert isinstance(command.outcome, DiskFull)


def test_on_a_stale_connection_hello_is_said_again_before_anything_else(driver: Driver) -> None:
    driver.submit()
    driver.write()

    driver.reply(1, refused("stale_connection"))
    first = driver.write()
    driver.core.receive(hello(registered=False), driver.now_s)

    assert (first, driver.write()) == (["hello"], [(1, 0)])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"registered": False, "database_id": "e", "last_seq": 1}, id="database"),
        pytest.param({"registered": True, "database_id": "e"}, id="database-and-forgotten"),
        pytest.param({"registered": False, "last_seq": 1, "last_rev": 6}, id="rev"),
        pytest.param({"registered": True, "last_rev": 6}, id="rev-and-forgotten"),
        pytest.param({"registered": False, "last_seq": 0, "last_rev": 9}, id="seq"),
    ],
)
def test_lost_writes_end_the_client(driver: Driver, changes: dict[str, Any]) -> None:
    driver.submit()
    driver.write()
    driver.reply(1, done(7))
    sent, unsent = driver.submit(), driver.submit()
    driver.frame()

    driver.core.disconnected()
    driver.connect(**{"last_rev": 7, **changes})

    assert isinstance(sent.outcome, DataLoss)
    assert isinstance(unsent.outcome, DataLoss)
    with pytest.raises(DataLoss):
        driver.submit()


def test_revs_that_a_hello_told_count_as_seen(driver: Driver) -> None:
    driver.core.disconnected()
    driver.connect(registered=False, last_rev=50)

    driver.core.disconnected()
    driver.connect(registered=False, last_rev=49)

    assert isinstance(driver.core.fatal, DataLoss)


def test_a_first_hello_whose_answer_was_lost_is_no_data_loss() -> None:
    driver = Driver()
    driver.core.connected(driver.now_s)
    driver.write()
    driver.core.disconnected()

    driver.connect(registered=False)

    assert driver.core.fatal is None
    assert driver.core.is_ready


def test_a_forgotten_client_sends_again_only_what_was_surely_not_applied(driver: Driver) -> None:
    old_id = driver.core.client_id
    twice = driver.submit()
    driver.write()
    driver.wait(RESEND_S)
    driver.write()
    once = driver.submit()
    driver.write()
    driver.reply(1, refused("unknown_client"))
    driver.reply(1, refused("unknown_client"))
    driver.reply(2, refused("unknown_client"))

    before = driver.write()
    driver.core.receive(hello(registered=True), driver.now_s)

    assert before == ["hello"]
    assert isinstance(twice.outcome, OutcomeUnknown)
    assert once.outcome is None
    assert driver.core.wants_reconnect
    assert driver.core.client_id != old_id
    driver.core.disconnected()
    driver.connect()
    assert driver.write() == [(1, 0)]


def test_unanswered_commands_of_a_forgotten_client_are_never_sent_again(driver: Driver) -> None:
    command = driver.submit()
    driver.write()

    driver.core.disconnected()
    driver.connect(registered=True)
    driver.core.disconnected()
    driver.connect(registered=True)

    assert isinstance(command.outcome, OutcomeUnknown)
    assert driver.write() == []


def test_a_forgotten_client_with_acknowledged_commands_lost_nothing(driver: Driver) -> None:
    driver.submit()
    driver.write()
    driver.reply(1, done(1))

    driver.core.disconnected()
    driver.connect(registered=True, last_rev=1)
    driver.core.disconnected()
    driver.connect(registered=True, last_rev=1)
    driver.submit()

    assert driver.core.fatal is None
    assert driver.write() == [(1, 0)]


def test_an_answer_to_the_old_id_does_not_count_for_the_new_one(driver: Driver) -> None:
    driver.submit()
    driver.write()
    driver.reply(1, refused("unknown_client"))
    driver.write()
    driver.core.receive(hello(registered=True), driver.now_s)

    driver.reply(1, done(1))
    driver.core.disconnected()
    driver.connect()

    assert driver.write() == [(1, 0)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(hello(protocol=2), id="hello-of-another-protocol"),
        pytest.param(encode_reply(0, refused("unsupported_protocol")), id="unsupported"),
        pytest.param(b"\x94\x02\x00\x00\x80", id="reply-of-another-protocol"),
        pytest.param(hello(last_seq="1"), id="hello-with-another-type"),
    ],
)
def test_another_protocol_ends_the_client(answer: bytes) -> None:
    driver = Driver()
    command = driver.submit()
    driver.core.connected(driver.now_s)
    driver.write()

    driver.core.receive(answer, driver.now_s)

    assert isinstance(command.outcome, ProtocolMismatch)


# Refusals that should not happen, and yet must not block the line for ever.


def test_sequence_reused_ends_the_command(driver: Driver) -> None:
    command = driver.submit()
    driver.write()

    driver.reply(1, refused("sequence_reused"))

    assert isinstance(command.outcome, SequenceReused)
    assert len(driver.core.line) == 0


@pytest.mark.parametrize("seq", [0, 1])
def test_a_frame_that_is_refused_whole_ends_its_commands(driver: Driver, seq: int) -> None:
    commands = [driver.submit(), driver.submit()]
    driver.write()

    driver.reply(seq, refused("too_large"))
    driver.reconnect()

    outcomes = [each.outcome for each in commands]
    assert [isinstance(each, LuludbError) and each.code for each in outcomes] == ["too_large"] * 2
    assert driver.write() == []
