"""The frames of wire protocol 1: delimiters, more elements, options."""

import msgpack
import pytest
import zmq

from tests.peer import Answer, answer_of, pack, request


def test_a_req_socket_works_as_well(daemon, connect):
    peer = connect(daemon.home, kind=zmq.REQ)

    assert peer.append(peer.create_session())
    assert peer.control("ping") == Answer(0, 0, {})


def test_a_request_between_empty_delimiters_is_answered_between_them(peer):
    peer.socket.send_multipart([b"", request(peer.client_id, 0, "ping", {})])

    delimiter, frame = peer.socket.recv_multipart()

    assert (delimiter, answer_of(frame)) == (b"", Answer(0, 0, {}))


def test_more_elements_at_the_end_and_unknown_options_are_ignored(peer):
    args = {"name": "n", "working_dir": "/w"}
    options = {"colour": "red", "durability": "full", 7: [1]}
    peer.send_frame(
        pack([1, peer.client_id, 1, 0, "session.create", args, options, "more", {"and": "more"}])
    )

    answer = peer.receive()

    assert (answer.seq, answer.status) == (1, 0)
    assert answer.body["durability"] == "full"


def test_more_elements_in_a_pipelines_and_a_transactions_pairs_are_ignored(peer):
    create = ["session.create", {"name": "n", "working_dir": "/w"}, "more"]

    (answer,) = peer.pipeline([create])
    body = peer.done("transaction", {"commands": [create]})

    assert answer.status == 0
    assert len(body["results"]) == 1


@pytest.mark.parametrize("op", ["session.create", "transaction", "pipeline"])
def test_durability_full_is_met_and_told(peer, op):
    create = ["session.create", {"name": "n", "working_dir": "/w"}]
    args = create[1] if op == "session.create" else {"commands": [create]}

    body = peer.done(op, args, options={"durability": "full"})
    afterwards = peer.done("session.create", create[1])

    assert body["durability"] == "full"
    assert afterwards["durability"] == "normal"


def test_a_refused_command_tells_its_durability_too(peer):
    assert peer.refused("message.delete", {"id": "none"})["durability"] == "normal"


def test_a_repeated_pipeline_does_not_claim_a_durability_that_was_not_met(peer):
    args = {"commands": [["session.create", {"name": "n", "working_dir": "/w"}]]}
    first = peer.exchange("pipeline", args, seq=1)

    again = peer.exchange("pipeline", args, seq=1, options={"durability": "full"})

    assert first.body["durability"] == "normal"
    assert again == first


@pytest.mark.parametrize("durability", ["most", "", 1, ["full"], {}])
def test_another_durability_is_invalid_and_nothing_is_done(peer, durability):
    args = {"name": "n", "working_dir": "/w"}

    answer = peer.exchange("session.create", args, seq=1, options={"durability": durability})

    assert (answer.seq, answer.status, answer.body["code"]) == (1, 1, "invalid")


def test_a_reply_is_one_frame_of_four_elements(peer):
    peer.send("ping", {}, seq=0)

    assert msgpack.unpackb(peer.receive_frame()) == [1, 0, 0, {}]
