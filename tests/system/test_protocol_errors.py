"""Every error code of wire protocol 1: when it comes, what it consumes, and whether it is kept."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.peer import Answer, answer_of, discovery, request
from tests.serving import serving

SESSION = {"name": "n", "working_dir": "/w"}


def refusal(answer, code):
    """The body of a refusal that must have `code`."""
    assert (answer.status, answer.body["code"]) == (1, code), answer
    return answer.body


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


# Passing: no seq is consumed, nothing is kept, and what follows is out of order.


def test_overloaded_above_a_window_of_256_commands(peer):
    session_id = peer.create_session()
    append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]
    peer.pipeline([append] * 255)  # acked is 1 and the last seq 256

    within = peer.exchange(*append, seq=257, acked=1)
    above = peer.exchange(*append, seq=258, acked=1)
    following = peer.exchange(*append, seq=259, acked=1)
    again = peer.exchange(*append, seq=258, acked=2)

    assert within.status == 0
    refusal(above, "overloaded")
    assert refusal(following, "out_of_order")["expected"] == 258
    assert again.status == 0


def test_overloaded_in_the_middle_of_a_pipeline_and_out_of_order_behind_it(peer):
    session_id = peer.create_session()
    append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]
    for first in (2, 130):
        args = {"commands": [append] * 128}
        answer = peer.exchange("pipeline", args, seq=first, acked=0)

    statuses = [(status, body.get("code")) for status, body in answer.body["replies"]]
    assert statuses[:127] == [(0, None)] * 127
    assert statuses[127:] == [(1, "overloaded")]
    found = peer.exchange("pipeline", {"commands": [append] * 3}, seq=257, acked=0)
    assert [body["code"] for _, body in found.body["replies"]] == [
        "overloaded",
        "out_of_order",
        "out_of_order",
    ]


def test_overloaded_above_32_mebibytes_of_kept_replies(peer):
    session_id = peer.create_session()

    def big(place):
        # 1,900 results of 530 bytes: a reply of about 0.96 MiB.
        return {
            "commands": [
                [
                    "message.append",
                    {
                        "id": "🦊" * 120 + f"{place}-{number}",
                        "session_id": session_id,
                        "role": "u",
                        "content": "",
                    },
                ]
                for number in range(1900)
            ]
        }

    reply_bytes = 0
    for seq in range(2, 60):
        peer.send("transaction", big(seq), seq=seq, acked=1)
        frame = peer.receive_frame()
        answer = answer_of(frame)
        if answer.status:
            break
        reply_bytes += len(frame)

    refusal(answer, "overloaded")
    assert 32 * 1024 * 1024 <= reply_bytes <= 33 * 1024 * 1024
    # Acknowledging makes room.
    assert peer.exchange("transaction", big(seq), seq=seq, acked=seq - 1).status == 0


def test_busy_while_a_foreign_writer_holds_the_lock(fresh_home, connect):
    with serving(fresh_home):
        peer = connect(fresh_home)
        session_id = peer.create_session()
        append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]
        with contextlib.closing(sqlite3.connect(fresh_home / "lulu.db")) as foreign:
            foreign.isolation_level = None
            foreign.execute("BEGIN IMMEDIATE")
            for seq in (2, 3):
                peer.send(*append, seq=seq, acked=1)

            busy, behind = peer.receive(), peer.receive()

            foreign.execute("ROLLBACK")
        again = peer.exchange(*append, seq=2, acked=1)

        refusal(busy, "busy")
        # What came in the same batch waited for the same lock, or comes behind a refused one.
        assert (behind.seq, behind.body["code"]) in ((3, "out_of_order"), (3, "busy"))
        assert again.status == 0
        assert peer.status()["foreign_writer_waits_total"] >= 1


def test_reads_and_pings_of_others_go_on_after_a_foreign_writers_short_lock(daemon, peer, rows):
    session_id = peer.create_session()
    append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]
    with contextlib.closing(sqlite3.connect(daemon.home / "lulu.db")) as foreign:
        foreign.isolation_level = None
        foreign.execute("BEGIN IMMEDIATE")
        peer.send(*append, seq=2, acked=1)
        assert rows(daemon.home, "SELECT count(*) FROM sessions WHERE id = ?", session_id)
        assert not peer.socket.poll(200)
        foreign.execute("COMMIT")

    assert peer.receive().status == 0


@pytest.fixture
def small_disk(fresh_home):
    """A home on a file system of four megabytes."""
    fresh_home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(fresh_home)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("privilege: only root may mount a small file system")
    yield fresh_home
    subprocess.run(["umount", str(fresh_home)], check=True)


def test_disk_full_is_passing_and_costs_its_neighbours_nothing(small_disk, connect, rows):
    with serving(small_disk):
        peer = connect(small_disk)
        session_id = peer.create_session()

        def append(megabytes):
            content = "x" * int(megabytes * 1_000_000)
            return ["message.append", {"session_id": session_id, "role": "u", "content": content}]

        answers = peer.pipeline([append(0), append(8), append(0)])
        seq = answers[1].seq
        again = peer.exchange(*append(0), seq=seq, acked=seq - 1)

        assert answers[0].status == 0
        refusal(answers[1], "disk_full")
        assert refusal(answers[2], "out_of_order")["expected"] == seq
        assert (again.seq, again.status) == (seq, 0)
        assert peer.control("ping") == Answer(0, 0, {})
        assert rows(small_disk, "SELECT content FROM messages") == [("",), ("",)]
        assert rows(small_disk, "PRAGMA integrity_check") == [("ok",)]


FLOOD = """
import sys, zmq
socket = zmq.Context().socket(zmq.DEALER)
socket.linger = 0
socket.connect(sys.argv[1])
frame = bytes.fromhex(sys.argv[2])
print("flooding", flush=True)
while True:
    try:
        socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        socket.poll(100, zmq.POLLOUT)
    while socket.poll(0):
        socket.recv(zmq.NOBLOCK)
"""


@contextlib.contextmanager
def flooded(home):
    """Keep frames waiting at the daemon's socket, however long it drains."""
    frame = request(os.urandom(16), 0, "ping", {"flood": "x" * 200}).hex()
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", FLOOD, discovery(home)["command"], frame],
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout.readline() == b"flooding\n"
        yield


def test_shutting_down_for_what_still_comes_when_the_daemon_has_drained_enough(
    fresh_home, connect, rows
):
    with serving(fresh_home) as server:
        writer = connect(fresh_home)
        session_id = writer.create_session()
        append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]
        answers = []
        with flooded(fresh_home):
            for seq in range(2, 34):
                writer.send(*append, seq=seq, acked=1)
            os.kill(server.pid, signal.SIGTERM)
            while not answers or answers[-1].status == 0:
                answers.append(writer.receive())
                acked = answers[-1].seq
                writer.send(*append, seq=acked + 32, acked=acked)
            code = server.wait_for_exit(5)

    assert code == 0
    assert answers[-1].body["code"] == "shutting_down"
    assert [answer.seq for answer in answers] == list(range(2, len(answers) + 2))
    assert rows(fresh_home, "SELECT count(*) FROM messages") == [(len(answers) - 1,)]
