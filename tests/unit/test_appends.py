"""Appends that are checked and applied many at once meet what they would meet one by one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luludb import commands
from luludb.appends import plain_appends
from luludb.commands import AppendMessage, parse_command
from luludb.daemon import group_commit
from luludb.daemon.exchange import Exchange
from luludb.errors import LuludbError
from luludb.wire import encode_content, encode_pipeline, encode_request
from tests.unit.turns import Clock, Peer, Reply, WriterUnderTest

AT = "2026-01-02T03:04:05.000006+00:00"
GOOD = {"id": "m", "session_id": "s", "role": "user", "content": "c\0"}
A_TEXT = st.sampled_from(["", "s", "m", "x" * 64, "x" * 65, "x" * 128, "x" * 129, "nul\0", "🦊"])
ANYTHING = st.one_of(A_TEXT, st.sampled_from([None, 7, b"s", ["s"], {"s": "s"}, 1.5, True]))
A_KEY = st.sampled_from([*GOOD, "timestamp", "extra", 7])
A_TIME = st.sampled_from([AT, "2026-01-02T04:04:05+01:00", "yesterday", ""])
ARGS = st.one_of(
    st.just(GOOD),
    st.fixed_dictionaries({**dict.fromkeys(GOOD, A_TEXT), "timestamp": A_TIME}),
    st.fixed_dictionaries(dict.fromkeys(GOOD, A_TEXT)),
    st.dictionaries(A_KEY, ANYTHING, max_size=5),
    ANYTHING,
)
OPS = st.one_of(st.just("message.append"), st.sampled_from(["message.delete", 7, None, ["x"]]))
ELEMENTS = st.lists(
    st.one_of(
        st.tuples(st.just("message.append"), ARGS).map(list),
        st.lists(st.one_of(OPS, ARGS), max_size=3),
        ANYTHING,
    ),
    min_size=1,
    max_size=3,
)


@given(ELEMENTS)
def test_what_is_taken_for_plain_appends_is_that_one_by_one(elements: list[Any]) -> None:
    columns = plain_appends(elements)

    if columns is not None:
        one_by_one = [parse_command(*element) for element in elements]
        timestamps = columns.timestamps or [None] * len(elements)
        assert one_by_one == [
            AppendMessage(*row) for row in zip(*columns[:4], timestamps, strict=True)
        ]


@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, A_TEXT)), min_size=1, max_size=3))
def test_appends_of_texts_are_plain_if_each_is_valid(several: list[dict[str, str]]) -> None:
    def is_valid(args: dict[str, str]) -> bool:
        try:
            parse_command("message.append", args)
        except LuludbError:
            return False
        return True

    columns = plain_appends([["message.append", args] for args in several])

    assert (columns is not None) == all(map(is_valid, several))


APPENDS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from([*"abcdefgh", ""]),
            "session_id": st.sampled_from(["s", "s", "s", "t", "nowhere"]),
            "role": st.just("user"),
            "content": st.sampled_from(["one", "bad", ""]),
        },
        optional={"timestamp": st.just("2026-01-02T04:04:05+01:00")},
    ),
    min_size=1,
    max_size=8,
)
TRIGGERS = st.sampled_from(
    [
        "",
        "BEGIN SELECT RAISE(IGNORE); END",
        "BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
        "BEGIN INSERT INTO seen VALUES (new.id); SELECT RAISE(IGNORE); END",
        "BEGIN INSERT INTO seen VALUES (new.id); END",
    ]
)


def run(several: list[dict[str, str]], trigger: str, kind: str) -> tuple[Any, list[Any]]:
    """What becomes of the same appends as a pipeline or alone: outcomes, and the tables' rows."""
    with TemporaryDirectory() as name, patch.object(group_commit, "now_text", lambda: AT):
        under_test = WriterUnderTest(Path(name), Clock())
        peer = Peer()
        under_test.turn(peer.hello(), peer.session("s"), peer.session("t"))
        under_test.rows("CREATE TABLE seen (id TEXT)")
        if trigger:
            under_test.rows(
                f"CREATE TRIGGER t BEFORE INSERT ON messages WHEN new.content = 'bad' {trigger}"
            )
        contents = [encode_content("message.append", args) for args in several]
        outcomes: list[Any]
        if kind == "pipeline":
            frame = encode_request(peer.client_id, 3, 0, encode_pipeline(contents))
            outcomes = under_test.turn((peer.route, frame))[0][3]["replies"]
        else:
            frames = [
                (peer.route, encode_request(peer.client_id, seq, 0, content))
                for seq, content in enumerate(contents, 3)
            ]
            outcomes = [reply[2:] for reply in under_test.turn(*frames)]
        again = [
            under_test.turn((peer.route, encode_request(peer.client_id, seq, 0, content)))[0][2:]
            for seq, content in enumerate(contents, 3)
        ]
        assert again == outcomes  # each is kept as its own
        tables = ("messages", "lulu_changes", "seen")
        rows = [under_test.rows(f"SELECT * FROM {table} ORDER BY rowid") for table in tables]
        under_test.close()
        return outcomes, rows


@settings(deadline=None, max_examples=60)
@given(APPENDS, TRIGGERS)
def test_a_pipeline_of_appends_does_what_its_commands_do_alone(
    several: list[dict[str, str]], trigger: str
) -> None:
    assert run(several, trigger, "pipeline") == run(several, trigger, "alone")


MIXED = st.lists(
    st.one_of(
        *[APPENDS.map(lambda run: [["message.append", args] for args in run])] * 3,
        st.sampled_from("abcd").map(lambda each: [["message.delete", {"id": each}]]),
        st.sampled_from("st").map(lambda each: [["session.delete", {"id": each}]]),
        st.sampled_from("stu").map(
            lambda each: [["session.create", {"id": each, "name": "n", "working_dir": "/w"}]]
        ),
    ),
    min_size=1,
    max_size=5,
).map(lambda runs: [command for run in runs for command in run])


def run_transactions(lists: list[list[Any]], trigger: str) -> tuple[Any, list[Any]]:
    """What becomes of transactions: their outcomes, and the tables' rows."""
    with TemporaryDirectory() as name, patch.object(group_commit, "now_text", lambda: AT):
        under_test = WriterUnderTest(Path(name), Clock())
        peer = Peer()
        under_test.turn(peer.hello(), peer.session("s"), peer.session("t"))
        under_test.rows("CREATE TABLE seen (id TEXT)")
        if trigger:
            under_test.rows(
                f"CREATE TRIGGER t BEFORE INSERT ON messages WHEN new.content = 'bad' {trigger}"
            )
        frames = [transaction(peer, *commands) for commands in lists]
        outcomes = [reply[2:] for reply in under_test.turn(*frames)]
        tables = ("sessions", "messages", "lulu_changes", "seen")
        rows = [under_test.rows(f"SELECT rowid, * FROM {table}") for table in tables]
        under_test.close()
        return outcomes, rows


@settings(deadline=None, max_examples=40)
@given(st.lists(MIXED, min_size=1, max_size=3), TRIGGERS)
def test_a_transaction_with_runs_of_appends_does_what_its_commands_do_one_by_one(
    lists: list[list[Any]], trigger: str
) -> None:
    at_once = run_transactions(lists, trigger)
    with patch.object(commands, "plain_appends", lambda _: None):
        one_by_one = run_transactions(lists, trigger)

    assert at_once == one_by_one


@pytest.fixture
def under_test(tmp_path: Path) -> Any:
    made = WriterUnderTest(tmp_path, Clock())
    yield made
    made.close()


def append(id: str, session_id: str = "s", content: str = "text") -> list[Any]:
    args = {"id": id, "session_id": session_id, "role": "user", "content": content}
    return ["message.append", args]


def transaction(peer: Peer, *commands: list[Any]) -> tuple[bytes, bytes]:
    return peer.next("transaction", {"commands": list(commands)})


def test_a_transaction_of_appends_tells_each_rev_and_id(under_test: WriterUnderTest) -> None:
    peer = Peer()

    replies = under_test.turn(
        peer.hello(), peer.session("s"), transaction(peer, append("a"), append("b"))
    )

    assert replies[2][3]["results"] == [{"rev": 2, "id": "a"}, {"rev": 3, "id": "b"}]
    assert replies[2][3]["rev"] == 3
    assert under_test.rows("SELECT rev, message_id FROM lulu_changes WHERE rev > 1") == [
        (2, "a"),
        (3, "b"),
    ]


@pytest.mark.parametrize(
    ("refused", "code"),
    [(append("a"), "already_exists"), (append("x", "nowhere"), "not_found")],
)
def test_a_transaction_of_appends_of_which_one_is_refused_leaves_nothing_and_tells_which(
    under_test: WriterUnderTest, refused: list[Any], code: str
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"), peer.next(*append("a")))

    reply, after = under_test.turn(
        transaction(peer, append("b"), append("c"), refused, append("d")), peer.next(*append("e"))
    )

    assert (reply[3]["code"], reply[3]["index"]) == (code, 2)
    assert after[2] == 0
    assert under_test.rows("SELECT id FROM messages") == [("a",), ("e",)]
    assert under_test.rows("SELECT rev FROM lulu_changes") == [(1,), (2,), (3,)]


def test_runs_of_appends_between_other_commands_are_applied_in_their_place(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    create = ["session.create", {"id": "t", "name": "n", "working_dir": "/w"}]
    commands = [
        *(append(f"s{n}") for n in range(5)),
        create,
        *(append(f"t{n}", "t") for n in range(5)),
        ["message.delete", {"id": "t4"}],
    ]

    *_, reply = under_test.turn(peer.hello(), peer.session("s"), transaction(peer, *commands))

    assert [result["rev"] for result in reply[3]["results"]] == list(range(2, 14))
    ids = [result.get("id") for result in reply[3]["results"]]
    assert ids == [
        *("s0", "s1", "s2", "s3", "s4"),
        "t",
        *("t0", "t1", "t2", "t3", "t4"),
        None,
    ]
    assert under_test.rows("SELECT rev FROM lulu_changes") == [(rev,) for rev in range(1, 14)]
    assert under_test.rows("SELECT count(*) FROM messages") == [(9,)]


def test_a_run_behind_other_commands_tells_the_place_of_what_is_refused_in_it(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    create = ["session.create", {"id": "t", "name": "n", "working_dir": "/w"}]
    run = [append(id, "t") for id in ("a", "b", "c", "a", "d")]
    invalid = [*run[:3], append("", "t")]

    replies = under_test.turn(
        peer.hello(), transaction(peer, create, *run), transaction(peer, create, *invalid)
    )

    assert [(reply[3]["code"], reply[3]["index"]) for reply in replies[1:]] == [
        ("already_exists", 4),
        ("invalid", 4),
    ]
    assert under_test.rows("SELECT count(*) FROM sessions") == [(0,)]
    assert under_test.rows("SELECT count(*) FROM lulu_changes") == [(0,)]


def test_a_row_that_a_trigger_swapped_for_another_is_not_acknowledged_in_a_transaction_either(
    under_test: WriterUnderTest,
) -> None:
    under_test.rows("CREATE TABLE audit (id TEXT)")
    under_test.rows(
        """CREATE TRIGGER leave_out BEFORE INSERT ON messages WHEN new.content = 'bad'
        BEGIN INSERT INTO audit VALUES (new.id); SELECT RAISE(IGNORE); END"""
    )
    peer = Peer()

    replies = under_test.turn(
        peer.hello(),
        peer.session("s"),
        transaction(peer, append("a"), append("b", content="bad"), append("c")),
    )

    assert (replies[2][3]["code"], replies[2][3]["index"]) == ("internal", 1)
    assert under_test.rows("SELECT count(*) FROM messages") == [(0,)]


def test_a_full_disk_under_a_pipeline_costs_what_does_not_fit(under_test: WriterUnderTest) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    pages = under_test.rows("PRAGMA page_count")[0][0]
    under_test.rows(f"PRAGMA max_page_count = {pages + 20}")
    commands = [append("a"), append("b", content="x" * 400_000), append("c")]

    reply: Reply = under_test.turn(peer.next("pipeline", {"commands": commands}))[0]

    codes = [body.get("code") for _, body in reply[3]["replies"]]
    assert codes == [None, "disk_full", "out_of_order"]
    assert under_test.rows("SELECT id FROM messages") == [("a",)]


def pipeline(peer: Peer, *commands: list[Any], seq: int, **options: Any) -> tuple[bytes, bytes]:
    return peer.frame("pipeline", {"commands": list(commands)}, seq=seq, **options)


def codes(reply: Reply) -> list[Any]:
    return [body.get("code") for _, body in reply[3]["replies"]]


def test_a_pipeline_of_appends_in_the_wrong_place_is_not_applied(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))
    two = append("a"), append("b")

    ahead, first, again, other = under_test.turn(
        pipeline(peer, *two, seq=3),
        pipeline(peer, *two, seq=2),
        pipeline(peer, *two, seq=2),
        pipeline(peer, append("c"), append("d"), seq=2),
    )

    assert codes(ahead) == ["out_of_order", "out_of_order"]
    assert codes(first) == [None, None]
    assert again == first
    assert codes(other) == ["sequence_reused", "sequence_reused"]
    assert under_test.rows("SELECT id FROM messages") == [("a",), ("b",)]


def test_a_pipeline_of_appends_left_behind_on_an_old_connection_is_not_applied(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer(b"old")
    under_test.turn(peer.hello(), peer.session("s"))
    left_behind = pipeline(peer, append("a"), append("b"), seq=2)
    peer.route = b"new"

    _, reply = under_test.turn(peer.hello(), left_behind)

    assert codes(reply) == ["stale_connection", "out_of_order"]
    assert under_test.rows("SELECT id FROM messages") == []


def test_a_pipeline_of_appends_ends_at_the_window(under_test: WriterUnderTest) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))

    under_test.turn(pipeline(peer, *(append(f"a{n}") for n in range(250)), seq=2))
    reply = under_test.turn(pipeline(peer, *(append(f"b{n}") for n in range(10)), seq=252))[0]

    assert codes(reply) == [None] * 5 + ["overloaded"] + ["out_of_order"] * 4
    assert under_test.rows("SELECT count(*) FROM messages") == [(255,)]


def test_a_pipeline_of_appends_with_bad_options_is_refused_one_by_one(
    under_test: WriterUnderTest,
) -> None:
    peer = Peer()
    under_test.turn(peer.hello(), peer.session("s"))

    reply = under_test.turn(pipeline(peer, append("a"), seq=2, options={"durability": "x"}))[0]

    assert codes(reply) == ["invalid"]
    assert under_test.rows("SELECT count(*) FROM messages") == [(0,)]


def test_a_pipeline_under_way_points_at_nothing_that_is_over() -> None:
    frame = encode_request(
        bytes(16), 1, 0, encode_pipeline([msgpack.packb("message.append") + msgpack.packb(GOOD)])
    )

    assert Exchange([b"route"], frame).commands == 1
