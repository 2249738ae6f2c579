"""Sequence numbers that no command has, and pipelines that are refused whole."""

import pytest

from tests.peer import request
from tests.system.bad_input.handmade import CREATE, SESSION

# Sequence numbers that no command has.


@pytest.mark.parametrize("seq", [0, -1, -(2**53) + 1])
@pytest.mark.parametrize("op", ["session.create", "transaction", "no.such.op"])
def test_a_command_with_seq_0_or_below_is_refused_and_consumes_nothing(peer, seq, op):
    args = {"commands": [CREATE]} if op == "transaction" else SESSION

    peer.send_frame(request(peer.client_id, seq, op, args))
    answer = peer.receive()

    assert (answer.seq, answer.status) == (seq, 1)
    assert answer.body["code"] in ("sequence_reused", "invalid", "unknown_op")
    found = peer.hello()
    assert found["last_seq"] == 0
    assert peer.create_session()


def test_the_greatest_integer_is_read(peer):
    answer = peer.exchange(*CREATE, seq=2**53 - 1)

    assert (answer.seq, answer.body["code"], answer.body["expected"]) == (
        2**53 - 1,
        "out_of_order",
        1,
    )


def test_a_negative_acked_acknowledges_nothing(peer):
    first = peer.exchange(*CREATE, seq=1, acked=-5)

    assert peer.exchange(*CREATE, seq=1, acked=-(2**53) + 1) == first


# Pipelines that are refused whole.


BAD_LISTS = {
    "of-0": [],
    "of-257": [CREATE] * 257,
    "of-a-map": {"0": CREATE},
    "of-nil": None,
    "of-text": "session.create",
    "with-a-pipeline": [CREATE, ["pipeline", {"commands": [CREATE]}]],
    "with-a-ping": [CREATE, ["ping", {}]],
    "with-a-status": [["status", {}], CREATE],
    "with-a-hello": [CREATE, ["hello", {}]],
    "with-an-integer": [CREATE, 7],
    "with-nil": [CREATE, None],
    "with-an-empty-list": [CREATE, []],
    "with-an-op-alone": [CREATE, ["session.create"]],
    "with-args-of-nil": [CREATE, ["session.create", None]],
    "with-args-as-list": [CREATE, ["session.create", []]],
    "with-an-op-as-bin": [CREATE, [b"session.create", SESSION]],
    "with-an-op-as-boolean": [CREATE, [True, SESSION]],
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_bad_list_refuses_the_pipeline_whole_with_its_seq(peer, name):
    before = peer.hello()["last_rev"]

    answer = peer.exchange("pipeline", {"commands": BAD_LISTS[name]}, seq=1)

    assert (answer.seq, answer.status, answer.body["code"]) == (1, 1, "invalid")
    found = peer.hello()
    assert found["last_seq"] == 0
    assert peer.create_session()
    assert before <= found["last_rev"]


def test_a_pipeline_with_another_argument_or_none_is_refused_whole(peer):
    for args in ({}, {"commands": [CREATE], "more": 1}, {"command": [CREATE]}):
        answer = peer.exchange("pipeline", args, seq=1)
        assert (answer.seq, answer.status, answer.body["code"]) == (1, 1, "invalid")

    assert peer.hello()["last_seq"] == 0


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([10_000, None], id="one-transaction-and-one-command"),
        pytest.param([5_000, 5_001], id="two-transactions"),
        pytest.param([10_001], id="one-transaction-too-long"),
    ],
)
def test_over_ten_thousand_commands_refuse_the_frame_whole(peer, sizes):
    commands = [
        CREATE if size is None else ["transaction", {"commands": [CREATE] * size}] for size in sizes
    ]

    answer = peer.exchange("pipeline", {"commands": commands}, seq=1)

    assert (answer.seq, answer.status, answer.body["code"]) == (1, 1, "too_large")
    assert peer.hello()["last_seq"] == 0


def test_ten_thousand_commands_are_not_too_many(peer):
    transactions = [["transaction", {"commands": [CREATE] * size}] for size in (5000, 4999)]

    answers = peer.pipeline([*transactions, CREATE])

    assert [answer.status for answer in answers] == [0, 0, 0]
