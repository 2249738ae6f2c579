"""Every error code of wire protocol 1: when it comes, what it consumes, and whether it is kept."""

import contextlib
import os
import sqlite3

import pytest

from tests.peer import Answer, refusal, request
from tests.serving import serving

SESSION = {"name": "n", "working_dir": "/w"}


# Kept, and consume their seq.


KEPT = [
    pytest.param("session.create", {"name": "", "working_dir": "/w"}, "invalid", id="invalid"),
    pytest.param("session.rename", {"id": "x"}, "unknown_op", id="unknown_op"),
    pytest.param("ping", {}, "unknown_op", id="control-request-with-a-seq"),
    pytest.param("session.delete", {"id": "none"}, "not_found", id="not_found"),
    pytest.param("session.update", {"id": "none", "name": "n"}, "not_found", id="update"),
    pytest.param("message.update", {"id": "none", "content": ""}, "not_found", id="content"),
    pytest.param("message.delete", {"id": "none"}, "not_found", id="message"),
    pytest.param(
        "message.append",
        {"session_id": "none", "role": "user", "content": ""},
        "not_found",
        id="append-to-no-session",
    ),
    pytest.param("transaction", {"commands": []}, "invalid", id="empty-transaction"),
    pytest.param(
        "transaction",
        {"commands": [["session.create", SESSION]] * 10_001},
        "invalid",
        id="transaction-of-10001",
    ),
    pytest.param(
        "transaction",
        {"commands": [["session.create", {**SESSION, "name": "n" * 4096}]] * 4000 + [["x", {}]]},
        "unknown_op",
        id="transaction-of-16-megabytes",
    ),
]


@pytest.mark.parametrize(("op", "args", "code"), KEPT)
def test_a_refusal_consumes_its_seq_and_is_kept(peer, op, args, code):
    before = peer.hello()["last_rev"]

    first = peer.exchange(op, args, seq=1)
    again = peer.exchange(op, args, seq=1)

    refusal(first, code)
    assert first.seq == 1
    assert again == first
    found = peer.hello()
    assert (found["last_seq"], found["last_rev"]) == (1, before)


def test_already_exists_is_kept_though_the_row_is_gone(peer):
    create = {**SESSION, "id": os.urandom(8).hex()}
    peer.done("session.create", create)
    first = peer.exchange("session.create", create, seq=2, acked=1)

    peer.exchange("session.delete", {"id": create["id"]}, seq=3, acked=1)
    again = peer.exchange("session.create", create, seq=2, acked=1)

    refusal(first, "already_exists")
    assert again == first


def test_a_message_id_that_is_taken_already_exists_in_any_session(peer):
    one, two = peer.create_session(), peer.create_session()
    id = peer.append(one)

    for session_id in (one, two):
        args = {"id": id, "session_id": session_id, "role": "user", "content": ""}
        assert peer.refused("message.append", args)["code"] == "already_exists"


def test_not_found_is_kept_though_the_row_came_later(peer):
    id = os.urandom(8).hex()
    first = peer.exchange("session.delete", {"id": id}, seq=1)
    peer.exchange("session.create", {**SESSION, "id": id}, seq=2)

    again = peer.exchange("session.delete", {"id": id}, seq=1)

    refusal(first, "not_found")
    assert again == first


def test_a_reply_over_one_mebibyte_undoes_its_transaction(daemon, peer, rows):
    session_id = "s" * 128
    peer.create_session(id=session_id)
    before = peer.hello()["last_rev"]
    appends = [
        [
            "message.append",
            {"id": f"{number:0128d}", "session_id": session_id, "role": "u", "content": ""},
        ]
        for number in range(10_000)
    ]

    first = peer.command("transaction", {"commands": appends})
    again = peer.exchange("transaction", {"commands": appends}, seq=2, acked=1)

    refusal(first, "too_large")
    assert again == first
    assert peer.hello()["last_rev"] == before
    count = "SELECT count(*) FROM messages WHERE session_id = ?"
    assert rows(daemon.home, count, session_id) == [(0,)]
    assert peer.append(session_id)


def test_internal_is_kept_and_costs_its_neighbours_nothing(fresh_home, connect):
    with serving(fresh_home):
        peer = connect(fresh_home)
        peer.create_session(id="s")
        with contextlib.closing(sqlite3.connect(fresh_home / "lulu.db")) as foreign:
            foreign.execute(
                "CREATE TRIGGER sometimes BEFORE INSERT ON messages WHEN new.role = 'bad'"
                " BEGIN SELECT RAISE(ROLLBACK, 'not today'); END"
            )
            foreign.commit()
        append = {"session_id": "s", "content": ""}

        answers = peer.pipeline(
            [["message.append", {**append, "role": role}] for role in ("a", "bad", "b")]
        )
        again = peer.exchange(
            "message.append", {**append, "role": "bad"}, seq=answers[1].seq, acked=1
        )
        in_transaction = peer.refused(
            "transaction",
            {
                "commands": [
                    ["message.append", {**append, "role": "c"}],
                    ["message.append", {**append, "role": "bad"}],
                ]
            },
        )

        assert [answer.status for answer in answers] == [0, 1, 0]
        refusal(answers[1], "internal")
        assert again == answers[1]
        assert answers[2].body["rev"] == answers[0].body["rev"] + 1
        assert (in_transaction["code"], in_transaction["index"]) == ("internal", 1)
        assert peer.append("s")


# Not kept, and consume nothing: the order of things.


def test_unsupported_protocol(peer):
    for protocol in (0, 2, -1, 2**53 - 1):
        peer.send_frame(request(peer.client_id, 1, "session.create", SESSION, protocol=protocol))
        refusal(peer.receive(), "unsupported_protocol")

    assert peer.hello()["last_seq"] == 0
    assert peer.create_session()


def test_unsupported_protocol_comes_before_unknown_client(daemon, connect):
    stranger = connect(daemon.home, hello=False)

    stranger.send_frame(request(stranger.client_id, 1, "x", {}, protocol=2))

    refusal(stranger.receive(), "unsupported_protocol")


def test_unknown_client_until_hello(daemon, connect):
    stranger = connect(daemon.home, hello=False)

    first = stranger.exchange("session.create", SESSION, seq=1)
    unordered = stranger.exchange("no such op", {"bad": 1}, seq=7)
    pipelined = stranger.exchange("pipeline", {"commands": [["session.create", SESSION]]}, seq=1)
    stranger.control("ping")
    stranger.control("status")
    later = stranger.exchange("session.create", SESSION, seq=1)

    refusal(first, "unknown_client")
    refusal(unordered, "unknown_client")
    assert [body["code"] for _, body in pipelined.body["replies"]] == ["unknown_client"]
    refusal(later, "unknown_client")
    assert stranger.hello()["registered"] is True
    assert stranger.create_session()


def test_stale_connection_after_hello_elsewhere(daemon, peer, connect):
    first = peer.command("session.create", SESSION)
    newer = connect(daemon.home, peer.client_id)

    refusal(peer.exchange("session.create", SESSION, seq=2), "stale_connection")

    assert peer.exchange("session.create", SESSION, seq=1) == first  # kept replies are given
    assert newer.seq == 1
    assert newer.create_session()
    peer.hello()
    refusal(newer.exchange("session.create", SESSION, seq=3), "stale_connection")
    assert peer.exchange("session.create", SESSION, seq=3).status == 0


def test_ping_and_status_are_answered_on_a_stale_connection(daemon, peer, connect):
    connect(daemon.home, peer.client_id)

    assert peer.control("ping") == Answer(0, 0, {})
    assert peer.status()["pid"] == daemon.pid


def test_stale_connection_until_hello_on_a_new_connection(daemon, peer):
    peer.create_session()
    peer.reconnect()

    refusal(peer.exchange("session.create", SESSION, seq=2), "stale_connection")

    peer.hello()
    assert peer.create_session()


def test_out_of_order_tells_the_seq_that_is_expected(peer):
    peer.create_session()

    body = refusal(peer.exchange("session.create", SESSION, seq=3, acked=1), "out_of_order")

    assert body["expected"] == 2
    assert peer.hello()["last_seq"] == 1
    assert peer.create_session()


def test_out_of_order_comes_before_stale_connection(daemon, peer, connect):
    connect(daemon.home, peer.client_id)

    refusal(peer.exchange("session.create", SESSION, seq=2), "out_of_order")
    refusal(peer.exchange("no such op", SESSION, seq=1), "stale_connection")


def test_sequence_reused_for_other_content_and_for_what_is_acknowledged(peer):
    peer.create_session()
    first = peer.exchange("session.create", SESSION, seq=2, acked=1)

    other_args = peer.exchange("session.create", {**SESSION, "name": "m"}, seq=2, acked=1)
    other_op = peer.exchange("session.delete", {"id": "x"}, seq=2, acked=1)
    acknowledged = peer.exchange("session.create", SESSION, seq=1, acked=1)

    for answer in (other_args, other_op, acknowledged):
        refusal(answer, "sequence_reused")
    assert peer.exchange("session.create", SESSION, seq=2, acked=1) == first
    assert peer.hello()["last_seq"] == 2
