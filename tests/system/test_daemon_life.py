"""How the daemon starts, refuses to, stops, and is followed by the next one."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import zmq

from tests.fuzz.attacks import deaf_dealer
from tests.peer import connected, discovery, request
from tests.serving import Server, refused_start, serving

CREATE = ("session.create", {"name": "n", "working_dir": "/w"})
STOP_S_MAX = 5


def append(session_id, content=""):
    return ["message.append", {"session_id": session_id, "role": "u", "content": content}]


def left_in(home):
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}, {
        str(path.relative_to(home)) for path in home.rglob("*") if path.is_socket()
    }


# A second one.


def test_a_second_daemon_is_refused_naming_the_first_which_goes_on_unharmed(
    fresh_home, connect, rows
):
    with serving(fresh_home) as first:
        peer = connect(fresh_home)
        session_id = peer.create_session()
        before = discovery(fresh_home)
        inodes = {path: path.stat().st_ino for path in (fresh_home / "run").iterdir()}

        for _ in range(3):
            code, log = refused_start(fresh_home)
            assert code == 1
            assert str(first.pid) in log
            assert "Traceback" not in log
            assert peer.append(session_id)

        assert discovery(fresh_home) == before
        assert {path: path.stat().st_ino for path in (fresh_home / "run").iterdir()} == inodes
        assert connect(fresh_home).create_session()
        assert (fresh_home / "lulu.lock").read_text().strip() == str(first.pid)
        assert rows(fresh_home, "SELECT count(*) FROM messages") == [(3,)]


def test_of_many_that_start_at_once_one_serves(fresh_home):
    servers = [Server(fresh_home) for _ in range(5)]
    try:
        codes = []
        ended = threading.Semaphore(0)

        def wait(server):
            codes.append(server.wait_for_exit())
            ended.release()

        waiting = [threading.Thread(target=wait, args=(server,)) for server in servers]
        for thread in waiting:
            thread.start()
        for _ in range(4):
            assert ended.acquire(timeout=20)

        assert codes == [1] * 4
        (alive,) = [server for server in servers if server.process.poll() is None]
        alive.wait_until_serving()
        assert discovery(fresh_home)["pid"] == alive.pid
        assert all(str(alive.pid) in server.log for server in servers)
        alive.process.kill()
        for thread in waiting:
            thread.join()
    finally:
        for server in servers:
            server.close()


# After kill -9.


def test_after_a_kill_the_next_one_starts_at_once_over_what_was_left(fresh_home, connect, rows):
    with serving(fresh_home) as first:
        peer = connect(fresh_home)
        session_id = peer.create_session()
        for _ in range(50):
            peer.append(session_id)
        assert first.signal(signal.SIGKILL) == -signal.SIGKILL
    files, sockets = left_in(fresh_home)
    assert "run/daemon.json" in files
    assert sockets == {"run/command.sock", "run/changes.sock"}
    assert rows(fresh_home, "SELECT count(*) FROM messages") == [(50,)]  # reads go on

    with serving(fresh_home) as second:
        assert discovery(fresh_home)["pid"] == second.pid
        peer.reconnect()
        assert peer.hello()["last_seq"] == 51
        assert peer.append(session_id)
        assert rows(fresh_home, "SELECT count(*) FROM messages") == [(51,)]


def test_no_acknowledged_write_is_lost_by_kills_in_the_middle(fresh_home, rows):
    """A pipelining client sends again what had no reply; each message is there once, in order."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(fresh_home))
        peer = stack.enter_context(connected(fresh_home))
        session_id = peer.create_session()
        acked = 1
        for _ in range(4):
            for seq in range(acked + 1, acked + 201):
                peer.send(*append(session_id, str(seq)), seq=seq, acked=acked)
            for seq in range(acked + 1, acked + 51):  # fifty replies, and the kill
                answer = peer.receive()
                assert (answer.seq, answer.status) == (seq, 0)
            server.signal(signal.SIGKILL)
            server = stack.enter_context(serving(fresh_home))
            peer.reconnect()
            taken = peer.hello()["last_seq"]
            assert taken >= acked + 50
            acked = taken

    found = rows(fresh_home, "SELECT content FROM messages ORDER BY rowid")
    assert [int(content) for (content,) in found] == list(range(2, acked + 1))


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_takes_away_what_is_not_to_stay(fresh_home, connect, number):
    with serving(fresh_home) as server:
        connect(fresh_home).create_session()

        assert server.signal(number, STOP_S_MAX) == 0

    files, sockets = left_in(fresh_home)
    assert sockets == set()
    assert files >= {"lulu.db", "lulu.lock"}
    assert files <= {"lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock"}
    wal = fresh_home / "lulu.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0  # all was copied back
    with serving(fresh_home):
        assert connect(fresh_home).hello()["last_rev"] == 1


LOAD = """
import os, sys
from tests.peer import connected
home, session_id = sys.argv[1:]
with connected(home) as peer:
    print("ready", flush=True)
    peer.socket.rcvtimeo = 3000
    command = ["message.append", {"session_id": session_id, "role": "u", "content": "x" * 500}]
    acknowledged = seq = 0
    try:
        while True:
            while seq - acknowledged < 200:
                seq += 1
                peer.send(*command, seq=seq, acked=acknowledged)
            answer = peer.receive()
            if answer.status:
                break
            assert answer.seq == acknowledged + 1
            acknowledged += 1
            print(acknowledged, flush=True)
    except Exception as error:
        if type(error).__name__ != "Again":
            raise
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_five_seconds_under_load_and_keeps_what_it_acknowledged(
    fresh_home, connect, rows, number
):
    with serving(fresh_home) as server, contextlib.ExitStack() as stack:
        session_id = connect(fresh_home).create_session()
        load = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", LOAD, str(fresh_home), session_id],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(2)
        ]
        for process in load:
            assert process.stdout.readline() == "ready\n"
            while int(process.stdout.readline()) < 300:
                pass

        began_s = time.monotonic()
        code = server.signal(number, STOP_S_MAX)
        took_s = time.monotonic() - began_s

        acknowledged = 0
        for process in load:
            lines = process.communicate(timeout=20)[0].split()
            assert process.returncode == 0
            acknowledged += int(lines[-1]) if lines else 300
        assert code == 0, server.log
        assert took_s < STOP_S_MAX
        assert left_in(fresh_home)[1] == set()
        assert not (fresh_home / "run" / "daemon.json").exists()
    (kept,) = rows(fresh_home, "SELECT count(*) FROM messages")[0]
    assert kept == acknowledged


def test_what_had_arrived_before_the_signal_is_applied_and_answered(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        # More frames than one turn takes.
        peers = [connect(fresh_home) for _ in range(8)]
        session_id = peers[0].create_session()
        peers[0].seq = 1
        os.kill(server.pid, signal.SIGSTOP)
        for peer in peers:
            for seq in range(peer.seq + 1, peer.seq + 201):
                peer.send(*append(session_id), seq=seq, acked=peer.seq)
        os.kill(server.pid, signal.SIGTERM)
        os.kill(server.pid, signal.SIGCONT)

        for peer in peers:
            answers = [peer.receive() for _ in range(200)]
            assert {answer.status for answer in answers} == {0}
        assert server.wait_for_exit(STOP_S_MAX) == 0

    assert rows(fresh_home, "SELECT count(*) FROM messages") == [(1600,)]


def ask_and_never_read(deaf, client_id, times):
    """Create a session, whose reply has 4 KB, and ask for that reply again and again."""
    deaf.send(request(client_id, 0, "hello", {}))
    create = {"id": "deaf", "name": "n" * 4000, "working_dir": "/w"}
    for _ in range(times):
        deaf.send(request(client_id, 1, "session.create", create))


def test_a_peer_that_never_reads_is_spoken_of_and_finds_its_replies_kept(fresh_home, connect):
    with serving(fresh_home) as server, zmq.Context() as context:
        client_id, other = os.urandom(16), connect(fresh_home)
        with deaf_dealer(context, fresh_home) as deaf:
            ask_and_never_read(deaf, client_id, 3000)
            deadline_s = time.monotonic() + 20
            while "does not read its replies" not in server.log:
                assert time.monotonic() < deadline_s, server.log
                assert other.create_session()
        again = connect(fresh_home, client_id)
        create = {"id": "deaf", "name": "n" * 4000, "working_dir": "/w"}

        assert again.seq == 1
        assert again.exchange("session.create", create, seq=1).status == 0
        assert server.log.count("does not read its replies") == 1


def test_it_stops_in_time_though_a_peer_never_reads(fresh_home, connect):
    with (
        serving(fresh_home) as server,
        zmq.Context() as context,
        deaf_dealer(context, fresh_home) as deaf,
    ):
        ask_and_never_read(deaf, os.urandom(16), 3000)
        connect(fresh_home).create_session()

        assert server.signal(signal.SIGTERM, STOP_S_MAX) == 0


def test_it_stops_in_time_though_a_reader_holds_a_snapshot(fresh_home, connect, rows):
    program = (
        "import sqlite3, sys; c = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True)\n"
        "c.isolation_level = None; c.execute('BEGIN')\n"
        "c.execute('SELECT count(*) FROM sessions').fetchone()\n"
        "print('holding', flush=True); sys.stdin.read(); c.close()\n"
    )
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        peer.create_session()
        with subprocess.Popen(
            [sys.executable, "-c", program, str(fresh_home / "lulu.db")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as reader:
            assert reader.stdout.readline() == "holding\n"
            peer.create_session()

            assert server.signal(signal.SIGTERM, STOP_S_MAX) == 0
            reader.communicate("")

    assert rows(fresh_home, "SELECT count(*) FROM sessions") == [(2,)]


def test_it_stops_cleanly_though_a_foreign_writer_holds_the_lock(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        session_id = peer.create_session()
        with contextlib.closing(sqlite3.connect(fresh_home / "lulu.db")) as foreign:
            foreign.isolation_level = None
            foreign.execute("BEGIN IMMEDIATE")
            peer.send(*append(session_id), seq=2, acked=1)

            code = server.signal(signal.SIGTERM, STOP_S_MAX)

            foreign.execute("ROLLBACK")
        assert code == 0, server.log
        assert "Traceback" not in server.log
    assert rows(fresh_home, "SELECT count(*) FROM sessions") == [(1,)]


def test_a_second_signal_while_it_stops_does_no_harm(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        session_id = peer.create_session()
        os.kill(server.pid, signal.SIGSTOP)
        peer.send(*append(session_id), seq=2, acked=1)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(server.pid, number)
        os.kill(server.pid, signal.SIGCONT)

        assert peer.receive().status == 0
        assert server.wait_for_exit(STOP_S_MAX) == 0

    assert rows(fresh_home, "SELECT count(*) FROM messages") == [(1,)]


def test_the_lock_file_stays_and_its_inode_too(fresh_home):
    inodes = set()
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        with serving(fresh_home) as server:
            server.signal(number)
        inodes.add((fresh_home / "lulu.lock").stat().st_ino)

    assert len(inodes) == 1


def test_reads_go_on_after_a_stop(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        session_id = connect(fresh_home).create_session()
        server.signal(signal.SIGTERM)

    assert rows(fresh_home, "SELECT id FROM sessions") == [(session_id,)]
    assert rows(fresh_home, "PRAGMA integrity_check") == [("ok",)]


# While it serves.


def test_a_stopped_process_is_waited_for_and_loses_nothing(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        session_id = peer.create_session()
        os.kill(server.pid, signal.SIGSTOP)
        peer.send(*append(session_id), seq=2, acked=1)

        assert not peer.socket.poll(100)
        assert rows(fresh_home, "SELECT count(*) FROM sessions") == [(1,)]  # reads do not wait

        os.kill(server.pid, signal.SIGCONT)
        assert peer.receive().status == 0


def test_nothing_is_answered_before_the_others_can_read_it(fresh_home, connect, rows):
    with serving(fresh_home):
        peer = connect(fresh_home)
        session_id = peer.create_session()
        for number in range(1, 101):
            peer.append(session_id)
            assert rows(fresh_home, "SELECT count(*) FROM messages") == [(number,)]


def test_many_that_wait_go_into_one_transaction(fresh_home, connect):
    with serving(fresh_home) as server:
        peers = [connect(fresh_home) for _ in range(8)]
        session_id = peers[0].create_session()
        before = peers[0].status()
        os.kill(server.pid, signal.SIGSTOP)
        for peer in peers:
            for seq in range(peer.seq + 1, peer.seq + 26):
                peer.send(*append(session_id), seq=seq, acked=peer.seq)
        os.kill(server.pid, signal.SIGCONT)
        for peer in peers:
            for _ in range(25):
                assert peer.receive().status == 0
        after = peers[0].status()

    assert after["commands_total"] - before["commands_total"] == 200
    assert after["batches_total"] - before["batches_total"] < 50
    assert after["batch_commands_max"] > 1


def test_a_peer_that_vanishes_in_mid_flight_disturbs_nobody(fresh_home, connect, rows):
    with serving(fresh_home):
        honest = connect(fresh_home)
        session_id = honest.create_session()
        for _ in range(20):
            with connected(fresh_home) as fleeting:
                for seq in range(1, 21):
                    fleeting.send(*append(session_id), seq=seq)
            assert honest.append(session_id)

        assert honest.status()["connections"] >= 1
        (count,) = rows(fresh_home, "SELECT count(*) FROM messages")[0]
        assert 20 <= count <= 20 + 400
