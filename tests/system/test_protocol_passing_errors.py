"""The passing errors of wire protocol 1: no seq is consumed, nothing is kept."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests.peer import Answer, answer_of, discovery, refusal, request
from tests.serving import serving


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
