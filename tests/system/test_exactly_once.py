"""Each command is applied once and in order, whatever is sent again, lost, or left behind."""

import contextlib
import os
import random

import msgpack
import pytest

from tests.peer import Answer, Peer, answer_of, connected, pack, request
from tests.serving import serving

CREATE = ("session.create", {"name": "n", "working_dir": "/w"})
LEFT_BEHIND = 200


def contents(rows, home, session_id):
    found = rows(
        home, "SELECT content FROM messages WHERE session_id = ? ORDER BY rowid", session_id
    )
    return [content for (content,) in found]


def append(session_id, content):
    return ["message.append", {"session_id": session_id, "role": "user", "content": content}]


# Kept replies.


def test_a_command_sent_again_gets_the_same_bytes_and_is_applied_once(daemon, peer, rows):
    session_id = peer.create_session()
    peer.send(*append(session_id, "once"), seq=2)
    first = peer.receive_frame()

    for _ in range(3):
        peer.send(*append(session_id, "once"), seq=2)
        assert peer.receive_frame() == first

    assert contents(rows, daemon.home, session_id) == ["once"]


def test_copies_that_arrive_together_are_applied_once(daemon, peer, rows):
    session_id = peer.create_session()
    for _ in range(20):
        for seq in (2, 3):
            peer.send(*append(session_id, str(seq)), seq=seq)

    answers = [peer.receive_frame() for _ in range(40)]

    assert set(answers[0::2]) == {answers[0]}
    assert set(answers[1::2]) == {answers[1]}
    assert contents(rows, daemon.home, session_id) == ["2", "3"]


def test_a_reply_lost_with_its_connection_is_given_on_the_next_one(daemon, peer, rows):
    session_id = peer.create_session()
    peer.send(*append(session_id, "once"), seq=2, acked=1)
    first = peer.receive_frame()  # take it as lost

    peer.reconnect()
    assert peer.hello()["last_seq"] == 2
    peer.send(*append(session_id, "once"), seq=2, acked=1)

    assert peer.receive_frame() == first
    assert contents(rows, daemon.home, session_id) == ["once"]


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_kept_replies_outlive_the_daemon(fresh_home, rows, ending):
    with contextlib.ExitStack() as stack:
        with serving(fresh_home) as server:
            peer = stack.enter_context(connected(fresh_home))
            session_id = peer.create_session()
            frames = {}
            for seq in range(2, 12):
                peer.send(*append(session_id, str(seq)), seq=seq, acked=1)
                frames[seq] = peer.receive_frame()
            peer.send("message.delete", {"id": "none"}, seq=12, acked=1)
            frames[12] = peer.receive_frame()
            boot_id = peer.status()["boot_id"]
            assert server.signal(9 if ending == "kill" else 15) == (-9 if ending == "kill" else 0)

        with serving(fresh_home):
            peer.reconnect()
            kept_before_hello = peer.exchange(*append(session_id, "2"), seq=2, acked=1)
            stale = peer.exchange(*append(session_id, "new"), seq=13, acked=1)
            found = peer.hello()

            assert kept_before_hello == answer_of(frames[2])
            assert stale.body["code"] == "stale_connection"
            assert (found["registered"], found["last_seq"]) == (False, 12)
            assert found["boot_id"] != boot_id
            for seq in range(2, 12):
                peer.send(*append(session_id, str(seq)), seq=seq, acked=1)
                assert peer.receive_frame() == frames[seq]
            peer.send("message.delete", {"id": "none"}, seq=12, acked=1)
            assert peer.receive_frame() == frames[12]
            assert peer.exchange(*append(session_id, "new"), seq=13, acked=12).status == 0
            assert contents(rows, fresh_home, session_id) == [
                *(str(seq) for seq in range(2, 12)),
                "new",
            ]


def test_kept_replies_of_many_batches_are_all_found_again_after_a_kill(fresh_home):
    """Acknowledged replies make room for later ones; those above stay, whichever row they use."""
    seed = random.randrange(1 << 32)
    print("seed", seed)  # shown where the test fails
    choose = random.Random(seed)
    with contextlib.ExitStack() as stack:
        frames = {}
        with serving(fresh_home) as server:
            peer = stack.enter_context(connected(fresh_home))
            seq = acked = 0
            while seq < 600:
                burst = choose.choice((1, 1, 2, 5, 40))
                acked = max(acked, min(seq, choose.randint(seq - 150, seq)))
                for number in range(seq + 1, seq + burst + 1):
                    peer.send("session.delete", {"id": str(number)}, seq=number, acked=acked)
                for number in range(seq + 1, seq + burst + 1):
                    frames[number] = peer.receive_frame()
                seq += burst
            server.signal(9)

        with serving(fresh_home):
            peer.reconnect()
            assert peer.hello()["last_seq"] == seq
            for number in range(acked + 1, seq + 1):
                peer.send("session.delete", {"id": str(number)}, seq=number, acked=acked)
                assert peer.receive_frame() == frames[number]
            late = peer.exchange("session.delete", {"id": "1"}, seq=acked, acked=acked)
            assert late.body["code"] == "sequence_reused"


def test_a_kept_full_says_full_after_a_kill_too(fresh_home, connect):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        first = peer.exchange(*CREATE, seq=1, options={"durability": "full"})
        server.signal(9)
    with serving(fresh_home):
        peer.reconnect()

        assert first.body["durability"] == "full"
        assert peer.exchange(*CREATE, seq=1) == first


# What is the same content.


def same_content_otherwise_framed(peer, session_id):
    op, args = append(session_id, "once")
    head = b"\x96\x01" + pack(peer.client_id)
    key_order = dict(reversed(args.items()))
    wide = b"".join(
        (
            b"\xdc\x00\x06",  # array 16
            b"\xcd\x00\x01",  # uint 16
            b"\xc6\x00\x00\x00\x10" + peer.client_id,  # bin 32
            b"\xcf\x00\x00\x00\x00\x00\x00\x00\x02",  # uint 64
            b"\xd3\x00\x00\x00\x00\x00\x00\x00\x00",  # int 64
            b"\xdb\x00\x00\x00\x0e" + op.encode(),  # str 32
            b"\xdf\x00\x00\x00\x03",  # map 32
            *(
                b"\xda\x00" + bytes([len(text)]) + text.encode()  # str 16
                for pair in args.items()
                for text in pair
            ),
        )
    )
    yield "another order of keys", head + b"\x02\x00" + pack(op) + pack(key_order)
    yield "other widths", wide
    yield "with options", request(peer.client_id, 2, op, args, options={"durability": "full"})
    yield "with more elements", pack([1, peer.client_id, 2, 0, op, args, {}, "more"])
    yield "another acked", request(peer.client_id, 2, op, args, acked=1)


def test_the_same_content_in_another_frame_is_the_same_command(daemon, peer, rows):
    session_id = peer.create_session()
    first = peer.exchange(*append(session_id, "once"), seq=2)

    for name, frame in same_content_otherwise_framed(peer, session_id):
        peer.send_frame(frame)
        assert peer.receive() == first, name

    piped = peer.exchange("pipeline", {"commands": [append(session_id, "once")]}, seq=2)
    assert piped.body["replies"] == [[first.status, first.body]]
    assert contents(rows, daemon.home, session_id) == ["once"]


def test_a_command_of_a_pipeline_can_be_asked_for_alone(daemon, peer, rows):
    session_id = peer.create_session()
    commands = [append(session_id, "a"), ["message.delete", {"id": "none"}], ["what", {}]]
    piped = peer.exchange("pipeline", {"commands": commands}, seq=2)

    for index, command in enumerate(commands):
        alone = peer.exchange(*command, seq=2 + index)
        assert [alone.status, alone.body] == piped.body["replies"][index]
    assert contents(rows, daemon.home, session_id) == ["a"]


def test_nested_maps_in_another_order_are_the_same_transaction(daemon, peer, rows):
    session_id = peer.create_session()
    op, args = append(session_id, "once")
    first = peer.exchange("transaction", {"commands": [[op, args]]}, seq=2)

    again = peer.exchange("transaction", {"commands": [[op, dict(reversed(args.items()))]]}, seq=2)

    assert first == again
    assert contents(rows, daemon.home, session_id) == ["once"]


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("message.append", {"session_id": "s", "role": "user", "content": "twice"}),
        ("message.append", {"session_id": "s", "role": "user"}),
        ("message.append", {"session_id": "s", "role": "user", "content": b"once"}),
        ("message.append", {"session_id": "s", "role": "user", "content": "once", "id": "x"}),
        ("message.update", {"session_id": "s", "role": "user", "content": "once"}),
        ("ping", {}),
        ("no.such.op", {}),
    ],
)
def test_other_content_is_sequence_reused_and_changes_nothing(daemon, peer, rows, op, args):
    session_id = peer.create_session()
    args = {**args, "session_id": session_id} if "session_id" in args else args
    first = peer.exchange(*append(session_id, "once"), seq=2)

    other = peer.exchange(op, args, seq=2)

    assert (other.seq, other.status, other.body["code"]) == (2, 1, "sequence_reused")
    assert peer.exchange(*append(session_id, "once"), seq=2) == first
    assert contents(rows, daemon.home, session_id) == ["once"]


# Acknowledging.


def test_what_is_acknowledged_is_sequence_reused(peer):
    for seq in range(1, 6):
        assert peer.exchange(*CREATE, seq=seq).status == 0

    peer.hello(acked=3)

    codes = [peer.exchange(*CREATE, seq=seq).body.get("code") for seq in range(1, 6)]
    assert codes == ["sequence_reused"] * 3 + [None] * 2


def test_acked_never_goes_back(peer):
    for seq in range(1, 4):
        peer.exchange(*CREATE, seq=seq, acked=seq - 1)
    peer.exchange(*CREATE, seq=4, acked=0)

    assert peer.exchange(*CREATE, seq=2, acked=0).body["code"] == "sequence_reused"
    assert peer.exchange(*CREATE, seq=3, acked=0).status == 0


def test_acked_never_goes_beyond_the_last_seq(peer):
    first = peer.exchange(*CREATE, seq=1, acked=0)
    peer.exchange(*CREATE, seq=3, acked=1000)  # out of order, and its acked is too high

    second = peer.exchange(*CREATE, seq=2, acked=1000)

    assert (first.status, second.status) == (0, 0)
    assert peer.exchange(*CREATE, seq=2, acked=0) == second
    assert peer.exchange(*CREATE, seq=1, acked=0).body["code"] == "sequence_reused"


# Order.


def test_commands_of_one_client_are_applied_in_the_order_of_their_seqs(daemon, peer, rows):
    session_id = peer.create_session()
    for seq in range(2, 202):
        peer.send(*append(session_id, str(seq)), seq=seq, acked=1)

    answers = [peer.receive() for _ in range(200)]

    assert [answer.seq for answer in answers] == list(range(2, 202))
    assert {answer.status for answer in answers} == {0}
    assert contents(rows, daemon.home, session_id) == [str(seq) for seq in range(2, 202)]


def test_a_gap_holds_back_everything_behind_it(daemon, peer, rows):
    session_id = peer.create_session()
    for seq in (2, 4, 5, 3, 4, 5):
        peer.send(*append(session_id, str(seq)), seq=seq, acked=1)

    answers = [peer.receive() for _ in range(6)]

    codes = [(answer.body.get("code"), answer.body.get("expected")) for answer in answers]
    assert codes == [
        (None, None),
        ("out_of_order", 3),
        ("out_of_order", 3),
        (None, None),
        (None, None),
        (None, None),
    ]
    assert contents(rows, daemon.home, session_id) == ["2", "3", "4", "5"]


def test_a_refused_command_leaves_its_neighbours_as_they_are(daemon, peer, rows):
    session_id = peer.create_session()
    bad = [
        ["message.append", {"session_id": session_id}],
        ["message.append", {"session_id": "none", "role": "user", "content": ""}],
        ["session.create", {"id": session_id, "name": "n", "working_dir": "/w"}],
        ["transaction", {"commands": [append(session_id, "undone"), ["what", {}]]}],
    ]
    sent = []
    for number in range(40):
        command = append(session_id, str(number)) if number % 2 else bad[number // 2 % 4]
        sent.append(command)
        peer.send(*command, seq=2 + number, acked=1)

    answers = [peer.receive() for _ in sent]

    assert [answer.status for answer in answers] == [1, 0] * 20
    assert contents(rows, daemon.home, session_id) == [str(n) for n in range(1, 40, 2)]
    revs = [answer.body["rev"] for answer in answers if answer.status == 0]
    assert revs == list(range(revs[0], revs[0] + 20))


# Connections.


def test_frames_left_behind_on_a_connection_given_up_change_nothing(fresh_home, connect, rows):
    """The daemon hears them after the hello on the other connection, and refuses each."""
    with serving(fresh_home) as server:
        old = connect(fresh_home)
        session_id = old.create_session()
        new = connect(fresh_home, old.client_id, hello=False)
        assert new.hears_nothing()  # it is connected
        old.hello()
        os.kill(server.pid, 19)  # SIGSTOP
        # More than the kernel takes for a process that does not read, so that when it goes on the
        # hello is there and most of these are not.
        for number in range(LEFT_BEHIND):
            old.send(*append(session_id, f"{number} " + "x" * 20_000), seq=2 + number, acked=1)
        new.send("hello", {}, seq=0, acked=1)
        os.kill(server.pid, 18)  # SIGCONT

        taken = new.receive().body["last_seq"]
        answers = [old.receive() for _ in range(LEFT_BEHIND)]
        found = new.hello()

        assert taken < LEFT_BEHIND
        # What was applied came before the hello; nothing came after it.
        assert found["last_seq"] == taken
        assert [answer.status for answer in answers[: taken - 1]] == [0] * (taken - 1)
        codes = [answer.body["code"] for answer in answers[taken - 1 :]]
        assert codes == ["stale_connection"] + ["out_of_order"] * (LEFT_BEHIND - taken)
        assert new.exchange(*append(session_id, "new"), seq=taken + 1, acked=taken).status == 0
        applied = [content.split()[0] for content in contents(rows, fresh_home, session_id)]
        assert applied == [*map(str, range(taken - 1)), "new"]


def test_many_frames_left_behind_while_the_daemon_hangs_change_nothing(fresh_home, connect, rows):
    with serving(fresh_home) as server:
        old = connect(fresh_home)
        session_id = old.create_session()
        os.kill(server.pid, 19)  # SIGSTOP
        for number in range(250):
            old.send(*append(session_id, f"old {number}"), seq=2 + number, acked=1)
        new = connect(fresh_home, old.client_id, hello=False)
        new.send("hello", {}, seq=0, acked=1)
        os.kill(server.pid, 18)  # SIGCONT
        taken = new.receive().body["last_seq"]

        fresh = [
            new.exchange(*append(session_id, f"new {seq}"), seq=seq, acked=taken)
            for seq in range(taken + 1, taken + 11)
        ]
        left_behind = [old.receive() for _ in range(250)]

        assert [answer.status for answer in fresh] == [0] * 10
        assert contents(rows, fresh_home, session_id) == [
            *(f"old {number}" for number in range(taken - 1)),
            *(f"new {seq}" for seq in range(taken + 1, taken + 11)),
        ]
        assert sum(answer.status == 0 for answer in left_behind) == taken - 1


def test_two_clients_have_a_sequence_each(daemon, connect):
    one, two = connect(daemon.home), connect(daemon.home)

    for _ in range(3):
        assert one.create_session()
        assert two.create_session()

    assert (one.hello()["last_seq"], two.hello()["last_seq"]) == (3, 3)


def test_one_connection_may_speak_for_several_clients(daemon, peer, connect):
    other = connect(daemon.home, hello=False)
    other_id = other.client_id

    peer.send_frame(request(other_id, 0, "hello", {}))
    assert peer.receive().body["registered"] is True
    peer.send_frame(request(other_id, 1, *CREATE))
    assert peer.receive().status == 0
    assert peer.exchange(*CREATE, seq=1).status == 0


def test_hello_for_a_client_that_many_connections_fight_over(daemon, rows):
    """Whoever said hello last may write; nobody's command is applied twice."""
    client_id = os.urandom(16)
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = [
            stack.enter_context(connected(daemon.home, client_id)) for _ in range(5)
        ]
        session_id = None
        for turn in range(25):
            peer = peers[turn % 5]
            seq = peer.hello()["last_seq"] + 1
            command = CREATE if session_id is None else append(session_id, str(turn))
            answer = peer.exchange(*command, seq=seq, acked=seq - 1)
            assert answer.status == 0
            session_id = session_id or answer.body["session"]["id"]
            for other in peers:
                if other is not peer:
                    stale = other.exchange(*append(session_id, "no"), seq=seq + 1, acked=seq)
                    assert stale.body["code"] == "stale_connection"
    assert contents(rows, daemon.home, session_id) == [str(turn) for turn in range(1, 25)]


def test_a_client_is_still_known_after_thousands_of_others(fresh_home, connect):
    with serving(fresh_home):
        peer, crowd = connect(fresh_home), connect(fresh_home)
        first = peer.exchange(*CREATE, seq=1)
        for _ in range(18):
            # More replies at once than the socket's queue holds would be dropped.
            ids = [os.urandom(16) for _ in range(250)]
            for client_id in ids:
                crowd.send_frame(request(client_id, 0, "hello", {}))
            for _ in ids:
                assert crowd.receive().body["registered"] is True

        kept = peer.exchange(*CREATE, seq=1)
        next_one = peer.exchange(*CREATE, seq=2)
        found = peer.hello()

        assert kept == first
        assert next_one.status == 0 or next_one.body["code"] == "stale_connection"
        assert found["registered"] is False
        assert found["last_seq"] == (2 if next_one.status == 0 else 1)
        assert peer.status()["clients"] == 4502


# Frames as they are on the wire.


def test_the_bodies_of_kept_replies_are_the_same_bytes_in_a_pipeline(peer):
    peer.send(*CREATE, seq=1)
    alone = peer.receive_frame()
    peer.send("pipeline", {"commands": [list(CREATE)]}, seq=1)
    piped = peer.receive_frame()

    body = msgpack.packb(msgpack.unpackb(alone)[3])
    assert alone.endswith(body)
    assert body in piped


def test_ping_between_commands_is_answered_in_its_place(peer):
    peer.send(*CREATE, seq=1)
    peer.send("ping", {}, seq=0)
    peer.send(*CREATE, seq=2)

    answers = [peer.receive() for _ in range(3)]

    assert [answer.seq for answer in answers] == [1, 0, 2]
    assert answers[1] == Answer(0, 0, {})
