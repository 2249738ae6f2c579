"""The ops of wire protocol 1 on sessions and messages: their effects and their replies."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest

CANONICAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


SESSION_KEYS = {"id", "name", "status", "working_dir", "created_at", "updated_at"}


MESSAGE_KEYS = {"id", "session_id", "role", "timestamp"}  # without content


def is_now(text):
    moment = datetime.fromisoformat(text)
    return bool(CANONICAL_TIME.fullmatch(text)) and abs(datetime.now(UTC) - moment) < timedelta(
        minutes=1
    )


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
