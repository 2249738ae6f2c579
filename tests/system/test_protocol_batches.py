"""Transactions and pipelines of wire protocol 1."""

import pytest

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
