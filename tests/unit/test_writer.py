"""One turn of the daemon: frames in, replies and changes out, on a real database."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest

from luludb.daemon import clients as clients_module
from luludb.daemon import connection as connection_module
from luludb.daemon.transaction import OpenTransaction
from luludb.errors import ShuttingDown
from luludb.limits import REFUSAL_BYTES_MAX, WINDOW_COMMANDS_MAX
from tests.databases import TODAYS_SCHEMA
from tests.unit.turns import Clock, Peer, WriterUnderTest, integrity


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def under_test(tmp_path: Path, clock: Clock) -> Iterator[WriterUnderTest]:
    writer = WriterUnderTest(tmp_path, clock)
    yield writer
    writer.close()


def statuses(replies: list[Any]) -> list[Any]:
    """0 for done, else the code."""
    return [0 if reply[2] == 0 else reply[3]["code"] for reply in replies]


def test_a_turn_puts_all_its_commands_into_one_transaction(under_test: WriterUnderTest) -> None:
    one, two = Peer(b"1"), Peer(b"2")

    replies = under_test.turn(
        one.hello(), two.hello(), one.session("s"), two.message("s", "a"), one.message("s", "b")
    )

    assert statuses(replies) == [0] * 5
    assert [len(batch) for batch in under_test.batches] == [3]
    assert under_test.rows("SELECT content FROM messages ORDER BY rowid") == [("a",), ("b",)]


def test_a_turn_ends_with_the_last_client_that_it_is_to_serve(under_test: WriterUnderTest) -> None:
    peers = [Peer(route=bytes([number])) for number in range(4)]
    frames = [
        frame for peer in peers for frame in (peer.hello(), peer.session(f"s{peer.route[0]}"))
    ]
    left = iter([([route], frame) for route, frame in frames])

    turn = under_test.writer.turn(left, clients_max=3)

    # A hello is nobody's command, and counts for nothing.
    assert ([envelope for envelope, _ in turn.replies], turn.took_all) == (
        [[peer.route] for peer in peers[:3] for _ in range(2)],
        False,
    )
    assert under_test.writer.turn(left, clients_max=3).took_all


def test_commands_of_a_window_are_taken_however_few_clients_are_to_be_served(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    window = [peer.hello(), peer.session("s"), *(peer.message("s", f"{n}") for n in range(20))]

    replies = under_test.turn(*window, clients_max=2)

    assert len(replies) == len(window)


def test_a_refused_command_leaves_its_neighbours_in_the_batch_as_they_are(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()

    replies = under_test.turn(
        peer.hello(),
        peer.session("s"),
        peer.message("s", "before", id="m"),
        peer.message("s", "again", id="m"),
        peer.message("nowhere", "lost"),
        peer.message("s", "after"),
    )

    assert statuses(replies) == [0, 0, 0, "already_exists", "not_found", 0]
    assert under_test.rows("SELECT content FROM messages") == [("before",), ("after",)]
    assert under_test.rows("SELECT rev FROM lulu_changes") == [(1,), (2,), (3,)]


def test_a_full_disk_in_a_batch_costs_the_command_that_does_not_fit_and_what_follows_it(
    under_test: WriterUnderTest,
) -> None:
    big, small = Peer(b"big"), Peer(b"small")
    under_test.turn(big.hello(), small.hello(), small.session("s"))
    pages = under_test.rows("PRAGMA page_count")[0][0]
    under_test.rows(f"PRAGMA max_page_count = {pages + 20}")

    replies = under_test.turn(
        small.message("s", "one"),
        big.message("s", "x" * 400_000),
        big.message("s", "behind it"),
        small.message("s", "two"),
    )

    assert statuses(replies) == [0, "disk_full", "out_of_order", 0]
    assert under_test.rows("SELECT content FROM messages") == [("one",), ("two",)]

    under_test.rows("PRAGMA max_page_count = 1000000")
    again = under_test.turn(
        big.frame(
            "message.append",
            {"session_id": "s", "role": "user", "content": "x" * 400_000},
            seq=1,
        )
    )

    assert statuses(again) == [0]
    assert integrity(under_test.connection) == "ok"


def test_a_bug_in_one_command_is_its_own_reply_and_nobody_elses(
    under_test: WriterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = OpenTransaction.apply

    def failing(self: OpenTransaction, command: Any, *rest: Any) -> Any:
        if getattr(command, "content", "") == "poison":
            raise ZeroDivisionError
        return apply(self, command, *rest)

    monkeypatch.setattr(OpenTransaction, "apply", failing)
    peer = Peer()

    replies = under_test.turn(
        peer.hello(),
        peer.session("s"),
        peer.message("s", "one"),
        peer.message("s", "poison"),
        peer.message("s", "two"),
    )

    assert statuses(replies) == [0, 0, 0, "internal", 0]
    assert under_test.rows("SELECT content FROM messages") == [("one",), ("two",)]


def test_a_foreign_writer_that_holds_the_lock_makes_new_commands_busy_and_repeats_not(
    under_test: WriterUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LOCK_WAIT_MS_MAX", 20)
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    foreign = apsw.Connection(str(tmp_path / "lulu.db"))
    foreign.execute("BEGIN IMMEDIATE")

    repeat = peer.frame("session.create", {"id": "s", "name": "n", "working_dir": "/w"}, seq=1)
    replies = under_test.turn(repeat, peer.message("s", "a"), peer.message("s", "b"))

    assert statuses(replies) == [0, "busy", "out_of_order"]
    assert under_test.lock_wait.waits_total == 1

    foreign.execute("ROLLBACK")
    foreign.close()
    peer.seq = 1
    assert statuses(under_test.turn(peer.message("s", "a"), peer.message("s", "b"))) == [0, 0]


def test_one_command_that_asks_for_full_makes_its_whole_batch_full(
    under_test: WriterUnderTest,
) -> None:
    one, two = Peer(b"1"), Peer(b"2")
    under_test.turn(one.hello(), two.hello())

    replies = under_test.turn(
        one.session("s"),
        two.next(
            "session.create",
            {"id": "t", "name": "n", "working_dir": "/"},
            options={"durability": "full"},
        ),
    )

    assert [reply[3]["durability"] for reply in replies] == ["full", "full"]
    assert under_test.rows("PRAGMA synchronous") == [(2,)]
    assert under_test.turn(one.session("u"))[0][3]["durability"] == "normal"
    assert under_test.rows("PRAGMA synchronous") == [(1,)]


def test_a_kept_reply_is_given_again_as_it_was_also_after_the_daemons_death(
    tmp_path: Path, clock: Clock
) -> None:
    first = WriterUnderTest(tmp_path, clock)
    peer = Peer()
    created = {"name": "n", "working_dir": "/w"}
    replies = first.turn(peer.hello(), peer.next("session.create", created))
    first.crash()

    second = WriterUnderTest(tmp_path, clock)
    repeated = second.turn(peer.frame("session.create", created, seq=1))
    hello = second.turn(peer.hello())

    assert repeated == [replies[1]]
    assert hello[0][3]["registered"] is False
    assert hello[0][3]["last_seq"] == 1
    assert second.rows("SELECT count(*) FROM sessions") == [(1,)]
    second.close()


def test_a_repeat_in_the_same_batch_gets_the_first_reply(under_test: WriterUnderTest) -> None:
    peer = Peer()
    under_test.turn(peer.hello())
    args = {"name": "n", "working_dir": "/w"}

    first, second = under_test.turn(
        peer.frame("session.create", args, seq=1), peer.frame("session.create", args, seq=1)
    )

    assert first == second
    assert under_test.figures.duplicates_total == 1


def test_every_reply_of_a_window_can_be_asked_for_until_it_is_acknowledged(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    sent = {}
    first = {}
    for size in (1, 5, 2, 40, 1, 100):
        frames = []
        for _ in range(size):
            frames.append(peer.message("s", f"{peer.seq + 1}"))
            sent[peer.seq] = frames[-1]
        for reply in under_test.turn(*frames):
            first[reply[1]] = reply
    peer.acked = 48
    under_test.turn(peer.message("s", "acknowledges"))

    for seq, (route, frame) in sent.items():
        (again,) = under_test.turn((route, frame))
        if seq <= peer.acked:
            assert again[3]["code"] == "sequence_reused"
        else:
            assert again == first[seq]


def test_a_client_that_waits_for_each_reply_uses_one_row_of_the_ledger(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    for _ in range(50):
        peer.acked = peer.seq
        under_test.turn(peer.message("s", "x"))

    assert under_test.rows("SELECT count(*), max(last_seq) FROM lulu_replies") == [(1, 51)]


def test_the_window_ends_at_256_unacknowledged_commands(under_test: WriterUnderTest) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    frames = [peer.message("s", "x") for _ in range(WINDOW_COMMANDS_MAX)]

    replies = under_test.turn(*frames)

    assert statuses(replies) == [0] * (WINDOW_COMMANDS_MAX - 1) + ["overloaded"]
    peer.acked, peer.seq = 1, WINDOW_COMMANDS_MAX
    assert statuses(under_test.turn(peer.message("s", "x"))) == [0]


def test_acked_is_never_taken_beyond_the_last_seq(under_test: WriterUnderTest) -> None:
    peer = Peer(acked=1000)
    args = {"name": "n", "working_dir": "/w"}

    replies = under_test.turn(
        peer.hello(),
        peer.frame("session.create", args, seq=1),
        peer.frame("session.create", args, seq=1),
    )

    assert statuses(replies) == [0, 0, "sequence_reused"]


def test_a_hello_in_a_lost_batch_takes_nothing_from_what_came_before_it(
    under_test: WriterUnderTest,
) -> None:
    under_test.rows("CREATE UNIQUE INDEX strange ON messages(content)")
    peer, other = Peer(b"old"), Peer(b"other")
    under_test.turn(peer.hello(), other.hello(), peer.session("s"), other.message("s", "taken"))
    before = peer.message("s", "before")
    peer.route = b"new"

    replies = under_test.turn(before, peer.hello(), other.message("s", "taken"))

    assert statuses(replies) == [0, 0, "internal"]
    assert replies[1][3]["last_seq"] == 2


@pytest.mark.parametrize("answer", ["REPLACE", "IGNORE", "ROLLBACK", "FAIL"])
def test_what_another_program_wanted_of_a_taken_id_or_content_is_not_done(
    tmp_path: Path, clock: Clock, answer: str
) -> None:
    """Else a session's messages would go with it, and the reply would say that all is well."""
    with contextlib.closing(apsw.Connection(str(tmp_path / "lulu.db"))) as connection:
        schema = TODAYS_SCHEMA.replace("PRIMARY KEY", f"PRIMARY KEY ON CONFLICT {answer}")
        unique = f"content TEXT NOT NULL UNIQUE ON CONFLICT {answer}"
        connection.execute(schema.replace("content TEXT NOT NULL", unique))
    under_test = WriterUnderTest(tmp_path, clock)
    peer = Peer()

    replies = under_test.turn(
        peer.hello(),
        peer.session("s"),
        peer.message("s", "one", id="m"),
        peer.message("s", "two", id="n"),
        peer.session("s"),
        peer.message("s", "again", id="m"),
        peer.next("message.update", {"id": "n", "content": "one"}),
    )

    assert statuses(replies) == [0, 0, 0, 0, "already_exists", "already_exists", "internal"]
    assert under_test.rows("SELECT id, content FROM messages") == [("m", "one"), ("n", "two")]
    under_test.close()


def test_what_a_trigger_says_is_quoted_within_the_bounds_of_a_reply(
    under_test: WriterUnderTest,
) -> None:
    told = "🦊" * 400_000
    under_test.rows(
        f"CREATE TRIGGER talker BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, '{told}'); END"
    )
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))

    alone = under_test.turn(peer.message("s", "x"))[0]

    assert statuses([alone]) == ["internal"]
    assert "🦊" in alone[3]["message"]
    assert len(msgpack.packb(alone[3])) <= REFUSAL_BYTES_MAX


def test_a_session_id_that_is_no_text_is_one_in_replies_and_changes(
    under_test: WriterUnderTest,
) -> None:
    """The change is rung for by the session's id in UTF-8."""
    at = "2026-01-02T03:04:05.000006+00:00"
    under_test.rows("INSERT INTO sessions VALUES (x'00ff', 'n', 'created', '/w', ?, ?)", at, at)
    for id in ("updated", "deleted"):
        under_test.rows("INSERT INTO messages VALUES (?, x'00ff', 'user', '', ?)", id, at)
    peer = Peer()

    replies = under_test.turn(
        peer.hello(),
        peer.next("message.update", {"id": "updated", "content": "new"}),
        peer.next("message.delete", {"id": "deleted"}),
    )

    assert statuses(replies) == [0, 0, 0]
    assert [type(change[2]) for change in under_test.batches[0]] == [str, str]


def test_frames_left_behind_on_an_old_connection_change_nothing(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer(b"old")
    under_test.turn(peer.hello(), peer.session("s"))
    left_behind = [peer.message("s", "left"), peer.message("s", "behind")]
    peer.route = b"new"

    replies = under_test.turn(peer.hello(), *left_behind)

    assert replies[0][3]["last_seq"] == 1
    assert statuses(replies) == [0, "stale_connection", "out_of_order"]
    assert under_test.rows("SELECT count(*) FROM messages") == [(0,)]


def test_a_stopping_daemon_refuses_what_is_new_and_repeats_what_is_kept(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    repeat = peer.frame("session.create", {"id": "s", "name": "n", "working_dir": "/w"}, seq=1)

    replies = under_test.turn(
        repeat, peer.message("s", "late"), peer.hello(), refusal=ShuttingDown("stopping")
    )

    assert statuses(replies) == [0, "shutting_down", 0]
    assert replies[2][3]["last_seq"] == 1


def test_an_unused_client_is_forgotten_by_running_time_and_no_wall_clock(
    tmp_path: Path, clock: Clock
) -> None:
    under_test = WriterUnderTest(tmp_path, clock, client_days_kept=2)
    sleeper, worker = Peer(b"sleeper"), Peer(b"worker")
    under_test.turn(sleeper.hello(), worker.hello(), sleeper.session("s"))
    clock.now_s += 1.5 * 86400
    under_test.turn(worker.session("t"))
    under_test.commit.forget_unused_clients()
    assert under_test.commit.clients.registered == 2

    clock.now_s += 0.6 * 86400
    under_test.commit.forget_unused_clients()

    worker.acked = 1
    assert statuses(under_test.turn(sleeper.session("u"), worker.session("v"))) == [
        "unknown_client",
        0,
    ]
    assert under_test.rows("SELECT count(*) FROM lulu_clients") == [(1,)]
    assert under_test.rows("SELECT count(*) FROM lulu_replies") == [(1,)]
    under_test.close()


def test_a_client_that_only_says_hello_is_used(tmp_path: Path, clock: Clock) -> None:
    under_test = WriterUnderTest(tmp_path, clock, client_days_kept=2)
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    clock.now_s += 1.5 * 86400
    under_test.turn(peer.hello())
    clock.now_s += 1.5 * 86400

    under_test.commit.forget_unused_clients()

    assert statuses(under_test.turn(peer.message("s", "still known"))) == [0]
    under_test.close()


def test_a_client_that_fell_out_of_memory_says_hello_again_and_loses_nothing(
    under_test: WriterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients_module, "CLIENTS_IN_MEMORY_MAX", 2)
    peers = [Peer(b"%d" % number) for number in range(4)]
    for number, peer in enumerate(peers):
        under_test.turn(peer.hello(), peer.session(f"s{number}"))
    first = peers[0]
    command = first.message("s0", "x")

    assert statuses(under_test.turn(command)) == ["stale_connection"]
    assert statuses(under_test.turn(first.hello(), command)) == [0, 0]


def test_running_time_goes_on_counting_over_restarts(tmp_path: Path, clock: Clock) -> None:
    first = WriterUnderTest(tmp_path, clock)
    clock.now_s += 5000
    first.close()

    second = WriterUnderTest(tmp_path, clock)

    assert second.commit.running_s() == 5000
    second.close()


def test_changes_are_kept_up_to_their_bound_and_first_rev_says_which(
    tmp_path: Path, clock: Clock
) -> None:
    under_test = WriterUnderTest(tmp_path, clock, changes_kept_max=200)
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    for _ in range(10):
        peer.acked = peer.seq
        under_test.turn(*[peer.message("s", "x") for _ in range(50)])
        first, last, count = under_test.rows(
            "SELECT min(rev), max(rev), count(*) FROM lulu_changes"
        )[0]
        meta = dict(under_test.rows("SELECT key, value FROM lulu_meta"))
        assert count <= 200
        assert (meta["first_rev"], meta["last_rev"]) == (first, last)
        assert last - first + 1 == count
    under_test.close()


def test_an_update_whose_reply_would_be_too_large_is_undone(under_test: WriterUnderTest) -> None:
    under_test.rows(
        "INSERT INTO sessions VALUES ('old', ?, 'created', '/w', 't', 't')", "n" * 2_000_000
    )
    peer = Peer()

    replies = under_test.turn(
        peer.hello(), peer.next("session.update", {"id": "old", "status": "running"})
    )

    assert statuses(replies) == [0, "too_large"]
    assert under_test.rows("SELECT status FROM sessions") == [("created",)]
    assert under_test.rows("SELECT count(*) FROM lulu_changes") == [(0,)]


def test_a_clean_commit_of_nothing_opens_no_transaction(under_test: WriterUnderTest) -> None:
    peer = Peer()
    under_test.turn(peer.hello())
    batches = under_test.figures.batches_total

    under_test.turn(peer.hello(), peer.frame("ping", {}, seq=0), peer.frame("status", {}, seq=0))

    assert under_test.figures.batches_total == batches


def test_a_foreign_trigger_that_rolls_back_refuses_its_command_alone(
    under_test: WriterUnderTest,
) -> None:
    under_test.rows(
        """CREATE TRIGGER stop BEFORE INSERT ON messages WHEN new.content = 'bad'
        BEGIN SELECT RAISE(ROLLBACK, 'no'); END"""
    )
    peer = Peer()

    replies = under_test.turn(
        peer.hello(), peer.session("s"), peer.message("s", "bad"), peer.message("s", "good")
    )

    assert statuses(replies) == [0, 0, "internal", 0]
    assert under_test.rows("SELECT content FROM messages") == [("good",)]


@pytest.mark.parametrize("table", ["sessions", "messages"])
def test_a_row_that_a_foreign_trigger_left_out_is_not_acknowledged(
    under_test: WriterUnderTest, table: str
) -> None:
    under_test.rows(
        f"""CREATE TRIGGER leave_out BEFORE INSERT ON {table} WHEN new.id = 'bad'
        BEGIN SELECT RAISE(IGNORE); END"""
    )
    peer = Peer()

    replies = under_test.turn(
        peer.hello(), peer.session("s"), peer.session("bad"), peer.message("s", "a", id="bad")
    )

    refused = "internal"
    expected = [refused, 0] if table == "sessions" else [0, refused]
    assert statuses(replies) == [0, 0, *expected]
    assert under_test.rows(f"SELECT count(*) FROM {table} WHERE id = 'bad'") == [(0,)]


def test_clients_are_forgotten_later_where_a_foreign_writer_holds_the_lock(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "LOCK_WAIT_MS_MAX", 20)
    under_test = WriterUnderTest(tmp_path, clock, client_days_kept=1)
    under_test.turn(Peer().hello())
    clock.now_s += 2 * 86400
    foreign = apsw.Connection(str(tmp_path / "lulu.db"))
    foreign.execute("BEGIN IMMEDIATE")

    under_test.commit.forget_unused_clients()

    assert under_test.commit.clients.registered == 1
    foreign.execute("ROLLBACK")
    foreign.close()
    under_test.commit.forget_unused_clients()
    assert under_test.commit.clients.registered == 0
    under_test.close()


def test_a_turn_leaves_nothing_for_the_garbage_collector(under_test: WriterUnderTest) -> None:
    """The daemon turns with the collector off, so a circle a command would fill its memory."""
    peer = Peer()
    under_test.turn(peer.hello())
    session = peer.next("session.create", {"id": "s", "name": "n", "working_dir": "/w"})
    frames = [
        session,
        peer.next("message.append", {"session_id": "s", "role": "user", "content": "x"}),
        peer.next("message.append", {"session_id": "no such", "role": "user", "content": "x"}),
        peer.next("message.append", {"role": "user"}),
        session,
        (b"route-1", b"no request"),
        peer.frame("no such op", {}, seq=9),
    ]
    gc.collect()
    gc.disable()
    try:
        under_test.turn(*frames)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_client_that_waits_for_its_replies_again_writes_one_row_again(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    for _ in range(10):
        under_test.turn(peer.message("s", "not acknowledged"))
    crowd = peer.seq
    for _ in range(10):
        peer.acked = peer.seq
        under_test.turn(peer.message("s", "acknowledged"))

    rows = under_test.rows("SELECT last_seq FROM lulu_replies ORDER BY last_seq")

    assert len(rows) == 11
    assert [last_seq for (last_seq,) in rows if last_seq > crowd] == [peer.seq]


def test_a_greeting_alone_does_not_count_as_a_batch_of_no_commands(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()

    under_test.turn(peer.hello())
    under_test.turn(peer.session("s"))

    figures = under_test.figures.body(1000.0)
    assert (figures["batches_total"], figures["batch_commands_p50"]) == (2, 1)
