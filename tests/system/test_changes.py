"""The change feed: one row for each applied command, its retention, and the notices."""

import re

import pytest

from tests.serving import serving

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
CREATE = ["session.create", {"name": "n", "working_dir": "/w"}]
QUIET_MS = 100


def changes(rows, home, above=0):
    return rows(
        home,
        "SELECT rev, op, session_id, message_id FROM lulu_changes WHERE rev > ? ORDER BY rev",
        above,
    )


def meta(rows, home):
    return dict(rows(home, "SELECT key, value FROM lulu_meta"))


def append(session_id, **args):
    return ["message.append", {"session_id": session_id, "role": "u", "content": "", **args}]


def heard(peer, listener):
    """Wait until the daemon has seen the subscription: its own change rings the bell."""
    while True:
        peer.done(*CREATE)
        if listener.hears_within(QUIET_MS):
            return


def drained(listener):
    found = []
    while listener.hears_within(QUIET_MS):
        found.append(listener.receive())
    return found


# Rows.


def test_each_op_writes_one_row_with_its_ids_and_rev(daemon, peer, rows):
    before = peer.hello()["last_rev"]
    bodies = [peer.done("session.create", {"id": "c-s", "name": "n", "working_dir": "/w"})]
    for op, args in (
        append("c-s", id="c-m"),
        append("c-s", id="c-n"),
        ("message.update", {"id": "c-m", "content": "new"}),
        ("session.update", {"id": "c-s", "status": "done"}),
        ("message.delete", {"id": "c-m"}),
        ("session.delete", {"id": "c-s"}),
    ):
        bodies.append(peer.done(op, args))

    assert [body["rev"] for body in bodies] == list(range(before + 1, before + 8))
    assert changes(rows, daemon.home, before) == [
        (before + 1, "session.create", "c-s", None),
        (before + 2, "message.append", "c-s", "c-m"),
        (before + 3, "message.append", "c-s", "c-n"),
        (before + 4, "message.update", "c-s", "c-m"),
        (before + 5, "session.update", "c-s", None),
        (before + 6, "message.delete", "c-s", "c-m"),
        (before + 7, "session.delete", "c-s", None),
    ]
    times = rows(daemon.home, "SELECT at FROM lulu_changes WHERE rev > ?", before)
    assert all(TIME.fullmatch(at) for (at,) in times)
    assert meta(rows, daemon.home)["last_rev"] == before + 7


def test_the_columns_of_the_feed_are_those_that_are_promised(daemon, rows):
    assert [
        (name, kind, key)
        for _, name, kind, _, _, key in rows(daemon.home, "PRAGMA table_info(lulu_changes)")
    ] == [
        ("rev", "INTEGER", 1),
        ("op", "TEXT", 0),
        ("session_id", "TEXT", 0),
        ("message_id", "TEXT", 0),
        ("at", "TEXT", 0),
    ]
    assert {"database_id", "first_rev", "last_rev"} <= set(meta(rows, daemon.home))


def test_deleting_a_session_writes_no_row_for_its_messages(daemon, peer, rows):
    session_id = peer.create_session()
    peer.pipeline([append(session_id)] * 50)
    before = peer.hello()["last_rev"]

    peer.done("session.delete", {"id": session_id})

    assert changes(rows, daemon.home, before) == [(before + 1, "session.delete", session_id, None)]


def test_refused_and_repeated_commands_write_no_row(daemon, peer, rows):
    session_id = peer.create_session()
    before = peer.hello()["last_rev"]

    for _ in range(2):
        peer.exchange("message.delete", {"id": "none"}, seq=2)
        peer.exchange("transaction", {"commands": [append(session_id), ["what", {}]]}, seq=3)
        peer.exchange(*append(session_id), seq=4)

    assert [row[1:3] for row in changes(rows, daemon.home, before)] == [
        ("message.append", session_id)
    ]


def test_revs_have_no_gaps_whoever_writes(daemon, connect, rows):
    peers = [connect(daemon.home) for _ in range(4)]
    session_ids = [peer.create_session() for peer in peers]
    before = peers[0].hello()["last_rev"]
    for _ in range(20):
        for peer, session_id in zip(peers, session_ids, strict=True):
            peer.seq += 1
            bad = ["message.delete", {"id": "none"}]
            command = bad if peer.seq % 5 == 0 else append(session_id)
            peer.send(*command, seq=peer.seq, acked=1)

    answers = [[peer.receive() for _ in range(20)] for peer in peers]

    for own in answers:
        revs = [answer.body["rev"] for answer in own if answer.status == 0]
        assert revs == sorted(revs)
    revs = sorted(answer.body["rev"] for own in answers for answer in own if not answer.status)
    assert revs == list(range(before + 1, before + 1 + len(revs)))
    assert [row[0] for row in changes(rows, daemon.home, before)] == revs


# Retention.


@pytest.mark.parametrize("kept_max", [1, 10, 500])
def test_no_more_changes_are_kept_than_the_setting_says(fresh_home, connect, rows, kept_max):
    with serving(fresh_home, env={"LULUDB_CHANGES_KEPT_MAX": str(kept_max)}):
        peer = connect(fresh_home)
        session_id = peer.create_session()
        for _ in range(30):
            peer.done(*append(session_id))
        for _ in range(5):
            peer.pipeline([append(session_id)] * 200)
        peer.done("transaction", {"commands": [append(session_id)] * 700})

        found = [row[0] for row in changes(rows, fresh_home)]
        told = meta(rows, fresh_home)
        status = peer.status()

        assert 1 <= len(found) <= kept_max
        assert found == list(range(told["first_rev"], told["last_rev"] + 1))
        assert told["last_rev"] == 1 + 30 + 1000 + 700
        assert (status["first_rev"], status["last_rev"]) == (found[0], found[-1])
        assert rows(fresh_home, "SELECT count(*) FROM messages") == [(1730,)]


def test_everything_is_kept_below_the_bound(fresh_home, connect, rows):
    with serving(fresh_home):
        peer = connect(fresh_home)
        for _ in range(20):
            peer.done(*CREATE)

        assert [row[0] for row in changes(rows, fresh_home)] == list(range(1, 21))
        assert meta(rows, fresh_home)["first_rev"] == 1


def test_the_revs_of_a_daemon_follow_those_of_the_last_one(fresh_home, connect, rows):
    for expected in (1, 2, 3):
        with serving(fresh_home) as server:
            with_peer = connect(fresh_home)
            assert with_peer.hello()["last_rev"] == expected - 1
            assert with_peer.done(*CREATE)["rev"] == expected
            server.signal(9)

    assert [row[0] for row in changes(rows, fresh_home)] == [1, 2, 3]


# Notices.


def test_a_notice_has_the_session_as_topic_and_the_rev(daemon, peer, listen):
    session_id = peer.create_session(id="ünïque-notice")
    listener = listen(daemon.home)
    heard(peer, listener)
    drained(listener)

    rev = peer.done(*append(session_id))["rev"]

    assert listener.receive() == (session_id.encode(), [rev])
    assert not listener.hears_within(QUIET_MS)


@pytest.mark.parametrize(
    "op", ["session.update", "message.update", "message.delete", "session.delete"]
)
def test_every_op_rings(daemon, peer, listen, op):
    session_id = peer.create_session()
    message_id = peer.append(session_id)
    listener = listen(daemon.home)
    heard(peer, listener)
    drained(listener)
    args = {
        "session.update": {"id": session_id, "status": "done"},
        "message.update": {"id": message_id, "content": "new"},
        "message.delete": {"id": message_id},
        "session.delete": {"id": session_id},
    }[op]

    rev = peer.done(op, args)["rev"]

    assert listener.receive() == (session_id.encode(), [rev])


def test_a_batch_rings_once_for_each_touched_session_with_its_last_rev(daemon, peer, listen):
    one, two = peer.create_session(), peer.create_session()
    listener = listen(daemon.home)
    heard(peer, listener)
    drained(listener)

    answers = peer.pipeline([append(one), append(two), append(one), append(two), append(one)])

    last_rev = answers[-1].body["rev"]
    assert sorted([listener.receive(), listener.receive()]) == sorted(
        [(one.encode(), [last_rev]), (two.encode(), [last_rev])]
    )
    assert not listener.hears_within(QUIET_MS)


def test_a_subscription_to_one_session_hears_of_no_other(daemon, peer, listen):
    mine, other = peer.create_session(), peer.create_session()
    everything, one = listen(daemon.home), listen(daemon.home, mine.encode())
    heard(peer, everything)
    while not one.hears_within(QUIET_MS):
        peer.append(mine)
    drained(one)

    peer.append(other)
    rev = peer.done(*append(mine))["rev"]

    assert one.receive() == (mine.encode(), [rev])
    assert not one.hears_within(QUIET_MS)


def test_what_changes_nothing_does_not_ring(daemon, peer, listen):
    listener = listen(daemon.home)
    heard(peer, listener)
    drained(listener)

    peer.refused("message.delete", {"id": "none"})
    peer.exchange("message.delete", {"id": "none"}, seq=peer.seq, acked=peer.seq - 1)
    peer.status()
    peer.hello()

    assert not listener.hears_within(QUIET_MS)


def test_a_notice_comes_after_the_change_can_be_read(daemon, peer, listen, rows):
    session_id = peer.create_session()
    listener = listen(daemon.home, session_id.encode())
    while not listener.hears_within(QUIET_MS):
        peer.append(session_id)
    drained(listener)

    for seq in range(peer.seq + 1, peer.seq + 51):
        peer.send(*append(session_id), seq=seq, acked=peer.seq)
        _, [rev] = listener.receive()
        assert rows(daemon.home, "SELECT rev FROM lulu_changes WHERE rev = ?", rev) == [(rev,)]
        assert meta(rows, daemon.home)["last_rev"] >= rev
        peer.receive()


def test_a_listener_that_never_reads_slows_nobody(daemon, peer, listen):
    listener = listen(daemon.home)
    heard(peer, listener)
    session_id = peer.create_session()

    for _ in range(20):
        answers = peer.pipeline([append(session_id)] * 200)
        assert {answer.status for answer in answers} == {0}

    assert listener.hears_within(QUIET_MS)
