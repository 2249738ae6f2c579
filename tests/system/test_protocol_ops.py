"""Every op of wire protocol 1, spoken with pyzmq and msgpack: its effect and its reply."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import msgpack
import pytest
import zmq

from tests.peer import Answer, answer_of, discovery, pack, request

CANONICAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
SESSION_KEYS = {"id", "name", "status", "working_dir", "created_at", "updated_at"}
MESSAGE_KEYS = {"id", "session_id", "role", "timestamp"}  # without content
STATUS_FIGURES = """
version protocol pid uptime_s home database_id boot_id schema_version sqlite_version durability
first_rev last_rev clients connections commands_total commands_refused_total duplicates_total
batches_total batch_commands_p50 batch_commands_p99 batch_commands_max commit_ms_p50 commit_ms_p99
commit_ms_max queue_wait_ms_p50 queue_wait_ms_p99 queue_wait_ms_max wal_bytes checkpoints_total
last_checkpoint foreign_writer_waits_total dropped_frames_total open_files rss_bytes
"""
HELLO_FIGURES = """
registered version protocol pid boot_id database_id schema_version durability last_seq last_rev
"""


def is_now(text):
    moment = datetime.fromisoformat(text)
    return bool(CANONICAL_TIME.fullmatch(text)) and abs(datetime.now(UTC) - moment) < timedelta(
        minutes=1
    )


# Control requests.


def test_ping_is_answered_with_an_empty_map_and_without_hello(daemon, connect):
    stranger = connect(daemon.home, hello=False)

    assert stranger.control("ping") == Answer(0, 0, {})


def test_hello_tells_who_serves_and_where_the_client_stands(daemon, connect):
    peer = connect(daemon.home, hello=False)
    found = discovery(daemon.home)

    first, second = peer.hello(), peer.hello()

    assert set(first) == set(HELLO_FIGURES.split())
    assert (first["registered"], second["registered"]) == (True, False)
    assert first["protocol"] == found["protocol"] == 1
    assert first["pid"] == found["pid"] == daemon.pid
    assert first["boot_id"] == found["boot_id"]
    assert first["version"] == found["version"]
    assert first["durability"] == "normal"
    assert type(first["schema_version"]) is int
    assert first["last_seq"] == second["last_seq"] == 0


def test_hello_tells_the_last_seq_and_the_last_rev(peer):
    rev = peer.done("session.create", {"name": "n", "working_dir": "/w"})["rev"]

    found = peer.hello()

    assert (found["last_seq"], found["last_rev"]) == (1, rev)


def test_hello_from_an_older_connection_finds_the_client_of_a_newer_one(daemon, peer, connect):
    peer.create_session()

    other = connect(daemon.home, peer.client_id, hello=False)

    assert other.hello()["registered"] is False
    assert other.hello()["last_seq"] == 1


def test_status_has_exactly_the_figures_that_are_promised(daemon, connect, rows):
    stranger = connect(daemon.home, hello=False)

    figures = stranger.status()

    assert set(figures) == set(STATUS_FIGURES.split())
    assert all(type(value) in (int, float, str, type(None)) for value in figures.values())
    assert figures["pid"] == daemon.pid
    assert figures["home"] == str(daemon.home)
    assert figures["boot_id"] == discovery(daemon.home)["boot_id"]
    meta = dict(rows(daemon.home, "SELECT key, value FROM lulu_meta"))
    for key in ("database_id", "first_rev", "last_rev"):
        assert figures[key] == meta[key]
    assert (figures["schema_version"],) == rows(daemon.home, "PRAGMA user_version")[0]
    assert figures["open_files"] > 0
    assert figures["rss_bytes"] > 1_000_000


def test_status_counts_commands_refusals_repeats_batches_and_clients(daemon, peer, connect):
    before = peer.status()

    peer.create_session()
    peer.refused("message.delete", {"id": "none"})
    peer.exchange("message.delete", {"id": "none"}, seq=2, acked=1)
    connect(daemon.home)
    after = peer.status()

    grown = {key: after[key] - before[key] for key in before if key.endswith("_total")}
    assert grown["commands_total"] >= 2
    assert grown["commands_refused_total"] >= 1
    assert grown["duplicates_total"] == 1
    assert grown["batches_total"] >= 2
    assert after["clients"] == before["clients"] + 1
    assert after["connections"] == before["connections"] + 1
    assert after["last_rev"] == before["last_rev"] + 1
    assert 0 < after["commit_ms_p50"] <= after["commit_ms_p99"] <= after["commit_ms_max"]


@pytest.mark.parametrize("op", ["ping", "status", "hello"])
def test_a_control_request_takes_no_args(peer, op):
    answer = peer.control(op, {"depth": 1})

    assert (answer.status, answer.body["code"]) == (1, "invalid")


def test_control_requests_have_no_place_in_the_sequence(peer):
    peer.create_session()
    for _ in range(3):
        peer.control("ping")
        peer.control("status")

    assert peer.hello()["last_seq"] == 1
    assert peer.create_session()


# Sessions.


def test_session_create_answers_with_the_row_that_it_made(daemon, peer, rows):
    body = peer.done("session.create", {"name": "fix the build", "working_dir": "/src"})

    session = body["session"]
    assert set(body) == {"rev", "session", "durability"}
    assert set(session) == SESSION_KEYS
    assert (session["name"], session["working_dir"]) == ("fix the build", "/src")
    assert session["status"] == "created"
    assert uuid.UUID(session["id"]).version == 7
    assert is_now(session["created_at"])
    assert is_now(session["updated_at"])
    assert body["durability"] == "normal"
    row = rows(
        daemon.home,
        "SELECT id, name, status, working_dir, created_at, updated_at FROM sessions WHERE id = ?",
        session["id"],
    )
    keys = ("id", "name", "status", "working_dir", "created_at", "updated_at")
    assert row == [tuple(session[key] for key in keys)]


def test_session_create_takes_every_column(peer):
    given = {
        "id": "any text is an id: é 🦊",
        "name": "n",
        "working_dir": "/w",
        "status": "running",
        "created_at": "2020-01-02T03:04:05.000006+00:00",
        "updated_at": "2021-01-02T03:04:05.000006+00:00",
    }

    assert peer.done("session.create", given)["session"] == given


def test_session_update_changes_what_is_given_and_updated_at(peer):
    old = peer.done(
        "session.create",
        {"name": "n", "working_dir": "/w", "created_at": "2020-01-01T00:00:00Z"},
    )["session"]

    body = peer.done("session.update", {"id": old["id"], "status": "done"})

    assert set(body) == {"rev", "session", "durability"}
    assert is_now(body["session"]["updated_at"])
    assert body["session"] == {
        **old,
        "status": "done",
        "updated_at": body["session"]["updated_at"],
    }


@pytest.mark.parametrize("key", ["name", "status", "working_dir"])
def test_session_update_sets_each_column_alone(peer, key):
    id = peer.create_session()

    assert peer.done("session.update", {"id": id, key: "other"})["session"][key] == "other"


def test_session_update_of_nothing_is_invalid(peer):
    id = peer.create_session()

    assert peer.refused("session.update", {"id": id})["code"] == "invalid"


def test_session_delete_takes_its_messages_and_counts_them(daemon, peer, rows):
    kept, gone = peer.create_session(), peer.create_session()
    for session_id in (gone, kept, gone):
        peer.append(session_id)

    body = peer.done("session.delete", {"id": gone})

    assert set(body) == {"rev", "deleted_messages", "durability"}
    assert body["deleted_messages"] == 2
    assert rows(daemon.home, "SELECT count(*) FROM messages WHERE session_id = ?", gone) == [(0,)]
    assert rows(daemon.home, "SELECT count(*) FROM messages WHERE session_id = ?", kept) == [(1,)]
    assert rows(daemon.home, "SELECT count(*) FROM sessions WHERE id = ?", gone) == [(0,)]


# Messages.


def test_message_append_answers_with_its_row_without_content(daemon, peer, rows):
    session_id = peer.create_session()

    body = peer.done(
        "message.append", {"session_id": session_id, "role": "user", "content": "hello"}
    )

    message = body["message"]
    assert set(body) == {"rev", "message", "durability"}
    assert set(message) == MESSAGE_KEYS
    assert uuid.UUID(message["id"]).version == 7
    assert is_now(message["timestamp"])
    assert rows(daemon.home, "SELECT * FROM messages WHERE id = ?", message["id"]) == [
        (message["id"], session_id, "user", "hello", message["timestamp"])
    ]


def test_message_append_leaves_the_sessions_updated_at(daemon, peer, rows):
    session_id = peer.create_session(updated_at="2020-01-01T00:00:00.000000+00:00")

    peer.append(session_id)

    assert rows(daemon.home, "SELECT updated_at FROM sessions WHERE id = ?", session_id) == [
        ("2020-01-01T00:00:00.000000+00:00",)
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("a\0b", id="nul"),
        pytest.param("é🦊\u2028\ufeff\r\n", id="unicode"),
        pytest.param("x" * 5_000_000, id="five-megabytes"),
    ],
)
def test_content_is_kept_as_it_was_sent(daemon, peer, rows, content):
    id = peer.append(peer.create_session(), content)

    (found,) = rows(daemon.home, "SELECT CAST(content AS BLOB) FROM messages WHERE id = ?", id)
    assert found[0].decode() == content


def test_messages_are_in_the_order_of_appending_whatever_their_timestamps(daemon, peer, rows):
    session_id = peer.create_session()
    ids = [peer.append(session_id, timestamp=f"20{year}-01-01T00:00:00Z") for year in (30, 10, 20)]

    peer.done("message.update", {"id": ids[0], "content": "new"})

    found = rows(
        daemon.home, "SELECT id FROM messages WHERE session_id = ? ORDER BY rowid", session_id
    )
    assert [id for (id,) in found] == ids


def test_message_update_sets_the_content_alone(daemon, peer, rows):
    session_id = peer.create_session()
    id = peer.append(session_id, "old", timestamp="2020-01-01T00:00:00Z")

    body = peer.done("message.update", {"id": id, "content": "new"})

    assert set(body) == {"rev", "message", "durability"}
    assert body["message"] == {
        "id": id,
        "session_id": session_id,
        "role": "user",
        "timestamp": "2020-01-01T00:00:00.000000+00:00",
    }
    assert rows(daemon.home, "SELECT content FROM messages WHERE id = ?", id) == [("new",)]


def test_message_delete_answers_with_its_rev_alone(daemon, peer, rows):
    id = peer.append(peer.create_session())

    body = peer.done("message.delete", {"id": id})

    assert set(body) == {"rev", "durability"}
    assert rows(daemon.home, "SELECT count(*) FROM messages WHERE id = ?", id) == [(0,)]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02T03:04:05.5z", "2026-01-02T03:04:05.500000+00:00"),
        ("2026-01-02T03:04:05.123456+02:30", "2026-01-02T00:34:05.123456+00:00"),
        ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00.000000+00:00"),
    ],
)
def test_a_time_with_an_offset_is_stored_as_utc_with_microseconds(peer, given, stored):
    body = peer.done(
        "session.create",
        {"name": "n", "working_dir": "/w", "created_at": given, "updated_at": given},
    )
    appended = peer.done(
        "message.append",
        {
            "session_id": body["session"]["id"],
            "role": "user",
            "content": "",
            "timestamp": given,
        },
    )

    assert body["session"]["created_at"] == body["session"]["updated_at"] == stored
    assert appended["message"]["timestamp"] == stored


# Transactions.


def test_a_transaction_answers_with_one_result_for_each_command(daemon, peer, rows):
    commands = [
        ["session.create", {"id": "t-s", "name": "n", "working_dir": "/w"}],
        ["message.append", {"id": "t-m", "session_id": "t-s", "role": "user", "content": "1"}],
        ["message.append", {"session_id": "t-s", "role": "user", "content": "2"}],
        ["message.update", {"id": "t-m", "content": "3"}],
        ["session.update", {"id": "t-s", "status": "done"}],
        ["message.delete", {"id": "t-m"}],
        ["session.delete", {"id": "t-s"}],
    ]

    body = peer.done("transaction", {"commands": commands})

    results = body["results"]
    assert set(body) == {"rev", "results", "durability"}
    assert [set(result) for result in results] == [
        {"rev", "id"},
        {"rev", "id"},
        {"rev", "id"},
        {"rev"},
        {"rev"},
        {"rev"},
        {"rev", "deleted_messages"},
    ]
    assert [result["rev"] for result in results] == list(range(body["rev"] - 6, body["rev"] + 1))
    assert (results[0]["id"], results[1]["id"]) == ("t-s", "t-m")
    assert results[6]["deleted_messages"] == 1
    assert rows(daemon.home, "SELECT op FROM lulu_changes WHERE rev > ?", body["rev"] - 7) == [
        (op,) for op, _ in commands
    ]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (["message.delete", {"id": "none"}], "not_found"),
        (["session.create", {"id": "tx", "name": "n", "working_dir": "/w"}], "already_exists"),
        (["message.append", {"session_id": "tx"}], "invalid"),
        (["session.rename", {}], "unknown_op"),
        (["transaction", {"commands": []}], "invalid"),
        (["pipeline", {"commands": []}], "invalid"),
        (["ping", {}], "invalid"),
        (["hello", {}], "invalid"),
        (["message.delete"], "invalid"),
        ([7, {}], "invalid"),
        ("message.delete", "invalid"),
    ],
)
def test_a_transaction_is_refused_whole_with_the_index(daemon, peer, rows, bad, code):
    before = peer.hello()["last_rev"]
    session = ["session.create", {"id": "tx", "name": "n", "working_dir": "/w"}]
    message = ["message.append", {"session_id": "tx", "role": "user", "content": ""}]

    body = peer.refused("transaction", {"commands": [session, message, bad, message]})

    assert (body["code"], body["index"]) == (code, 2)
    assert rows(daemon.home, "SELECT count(*) FROM sessions WHERE id = 'tx'") == [(0,)]
    assert rows(daemon.home, "SELECT count(*) FROM messages WHERE session_id = 'tx'") == [(0,)]
    assert peer.hello()["last_rev"] == before


def test_a_transaction_holds_ten_thousand_commands(daemon, peer, rows):
    session_id = peer.create_session()
    append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]

    body = peer.done("transaction", {"commands": [append] * 10_000})

    assert len(body["results"]) == 10_000
    assert rows(daemon.home, "SELECT count(*) FROM messages WHERE session_id = ?", session_id) == [
        (10_000,)
    ]


# Pipelines.


def test_a_pipeline_answers_each_command_as_if_it_had_come_alone(peer):
    commands = [
        ["session.create", {"id": "p-s", "name": "n", "working_dir": "/w"}],
        ["message.delete", {"id": "none"}],
        ["session.create", {"id": "p-s", "name": "n", "working_dir": "/w"}],
        ["session.rename", {}],
        ["message.append", {"session_id": "p-s"}],
        [
            "transaction",
            {"commands": [["message.append", {"session_id": "p-s", "role": "u", "content": ""}]]},
        ],
        ["session.delete", {"id": "p-s"}],
    ]

    answer = peer.exchange("pipeline", {"commands": commands}, seq=1)

    assert (answer.seq, answer.status) == (1, 0)
    assert set(answer.body) == {"replies", "durability"}
    assert [status for status, _ in answer.body["replies"]] == [0, 1, 1, 1, 1, 0, 0]
    bodies = [body for _, body in answer.body["replies"]]
    assert set(bodies[0]) >= {"rev", "session"}
    assert [body["code"] for body in bodies[1:5]] == [
        "not_found",
        "already_exists",
        "unknown_op",
        "invalid",
    ]
    assert bodies[6]["deleted_messages"] == 1
    assert [bodies[index]["rev"] - bodies[0]["rev"] for index in (5, 6)] == [1, 2]
    assert peer.hello()["last_seq"] == 7


def test_a_pipeline_holds_256_commands(peer):
    session_id = peer.create_session()
    append = ["message.append", {"session_id": session_id, "role": "u", "content": ""}]

    answers = peer.pipeline([append] * 256)

    assert {answer.status for answer in answers} == {0}
    assert peer.hello()["last_seq"] == 257


def test_a_pipeline_with_the_next_seq_in_its_middle_repeats_and_applies(daemon, peer, rows):
    session_id = peer.create_session()
    appends = [
        ["message.append", {"session_id": session_id, "role": "u", "content": str(number)}]
        for number in range(4)
    ]
    first = peer.exchange("pipeline", {"commands": appends[:2]}, seq=2)

    second = peer.exchange("pipeline", {"commands": appends}, seq=2)

    assert second.body["replies"][:2] == first.body["replies"]
    assert [status for status, _ in second.body["replies"]] == [0, 0, 0, 0]
    assert rows(
        daemon.home,
        "SELECT content FROM messages WHERE session_id = ? ORDER BY rowid",
        session_id,
    ) == [("0",), ("1",), ("2",), ("3",)]


# Frames.


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


# Limits that are still allowed.


@pytest.mark.parametrize("character", ["a", "é", "🦊"])
def test_texts_may_have_their_greatest_length_in_characters(peer, character):
    session = peer.done(
        "session.create",
        {
            "id": f"{character * 96}{uuid.uuid4().hex}",
            "name": character * 4096,
            "working_dir": character * 4096,
            "status": character * 64,
        },
    )["session"]
    message = peer.done(
        "message.append",
        {
            "id": f"{character * 95}m{uuid.uuid4().hex}",
            "session_id": session["id"],
            "role": character * 64,
            "content": "",
        },
    )["message"]

    assert len(session["id"]) == len(message["id"]) == 128
    assert session["name"] == session["working_dir"] == character * 4096
    assert session["status"] == message["role"] == character * 64
