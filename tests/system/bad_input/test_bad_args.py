"""Readable frames whose args are bad are `invalid`, and disturb nobody."""

import math

import msgpack
import pytest

from tests.peer import pack, request
from tests.system.bad_input.handmade import CREATE, SESSION, frame_of, nested, refused

LONG = "x" * 4097


APPEND = {"session_id": "s", "role": "user", "content": ""}


BAD_ARGS = [
    ("session.create", {}, "no-args"),
    ("session.create", {"name": "n"}, "no-working-dir"),
    ("session.create", {"working_dir": "/w"}, "no-name"),
    ("session.create", {**SESSION, "name": ""}, "empty-name"),
    ("session.create", {**SESSION, "name": LONG}, "long-name"),
    ("session.create", {**SESSION, "name": "a\0b"}, "nul-in-name"),
    ("session.create", {**SESSION, "name": 7}, "integer-name"),
    ("session.create", {**SESSION, "name": True}, "boolean-name"),
    ("session.create", {**SESSION, "name": None}, "nil-name"),
    ("session.create", {**SESSION, "name": b"bin"}, "bin-name"),
    ("session.create", {**SESSION, "name": ["n"]}, "list-name"),
    ("session.create", {**SESSION, "name": math.nan}, "nan-name"),
    ("session.create", {**SESSION, "name": math.inf}, "infinite-name"),
    ("session.create", {**SESSION, "name": 2**64 - 1}, "integer-over-2^53"),
    ("session.create", {**SESSION, "name": msgpack.Timestamp(1)}, "timestamp-name"),
    ("session.create", {**SESSION, "name": msgpack.ExtType(5, b"x")}, "extension-name"),
    ("session.create", {**SESSION, "working_dir": ""}, "empty-working-dir"),
    ("session.create", {**SESSION, "working_dir": LONG}, "long-working-dir"),
    ("session.create", {**SESSION, "working_dir": "/\0"}, "nul-in-working-dir"),
    ("session.create", {**SESSION, "status": ""}, "empty-status"),
    ("session.create", {**SESSION, "status": "x" * 65}, "long-status"),
    ("session.create", {**SESSION, "status": "\0"}, "nul-in-status"),
    ("session.create", {**SESSION, "status": None}, "nil-status"),
    ("session.create", {**SESSION, "id": ""}, "empty-id"),
    ("session.create", {**SESSION, "id": "x" * 129}, "long-id"),
    ("session.create", {**SESSION, "id": "a\0"}, "nul-in-id"),
    ("session.create", {**SESSION, "id": None}, "nil-id"),
    ("session.create", {**SESSION, "id": 1}, "integer-id"),
    ("session.create", {**SESSION, "created_at": "yesterday"}, "no-time"),
    ("session.create", {**SESSION, "created_at": "2026-01-02T03:04:05"}, "time-without-offset"),
    ("session.create", {**SESSION, "created_at": "2026-02-30T03:04:05Z"}, "no-such-day"),
    ("session.create", {**SESSION, "updated_at": "2026-01-02"}, "date-alone"),
    ("session.create", {**SESSION, "updated_at": 1767323045}, "integer-time"),
    ("session.create", {**SESSION, "updated_at": None}, "nil-time"),
    ("session.create", {**SESSION, "colour": "red"}, "unknown-key"),
    ("session.create", {**SESSION, 7: "seven"}, "integer-key"),
    ("session.create", {**SESSION, b"id": "x"}, "bin-key"),
    ("session.create", {**SESSION, None: 1, True: 2, 1.5: 3}, "keys-of-all-types"),
    ("session.update", {"name": "n"}, "update-without-id"),
    ("session.update", {"id": "s"}, "update-of-nothing"),
    ("session.update", {"id": "s", "name": None}, "update-to-nil"),
    ("session.update", {"id": "s", "created_at": "2026-01-02T03:04:05Z"}, "update-of-created-at"),
    ("session.delete", {}, "delete-without-id"),
    ("session.delete", {"id": "s", "name": "n"}, "delete-with-name"),
    ("session.delete", {"id": "s\0"}, "delete-nul"),
    ("message.append", {**APPEND, "session_id": ""}, "empty-session-id"),
    ("message.append", {**APPEND, "session_id": "x" * 129}, "long-session-id"),
    ("message.append", {**APPEND, "session_id": "s\0"}, "nul-in-session-id"),
    ("message.append", {**APPEND, "role": ""}, "empty-role"),
    ("message.append", {**APPEND, "role": "x" * 65}, "long-role"),
    ("message.append", {**APPEND, "role": "a\0"}, "nul-in-role"),
    ("message.append", {**APPEND, "content": None}, "nil-content"),
    ("message.append", {**APPEND, "content": b"bin"}, "bin-content"),
    ("message.append", {**APPEND, "content": {"text": "x"}}, "map-content"),
    ("message.append", {"session_id": "s", "role": "user"}, "no-content"),
    ("message.append", {**APPEND, "timestamp": "2026-01-02T03:04:05+0000"}, "bad-offset"),
    ("message.append", {**APPEND, "id": "x" * 129}, "long-message-id"),
    ("message.append", {**APPEND, "status": "x"}, "append-with-status"),
    ("message.update", {"id": "m"}, "no-new-content"),
    ("message.update", {"id": "m", "content": 1}, "integer-content"),
    ("message.update", {"id": "m", "content": "", "role": "r"}, "update-of-role"),
    ("message.delete", {"id": 1}, "delete-integer"),
    ("transaction", {}, "no-commands"),
    ("transaction", {"commands": {}}, "map-of-commands"),
    ("transaction", {"commands": "x"}, "text-of-commands"),
    ("transaction", {"commands": []}, "empty-transaction"),
    ("transaction", {"commands": [CREATE], "more": 1}, "transaction-with-more"),
    ("transaction", {"commands": [["transaction", {"commands": [CREATE]}]]}, "nested-transaction"),
    ("transaction", {"commands": [["pipeline", {"commands": [CREATE]}]]}, "pipeline-inside"),
]


@pytest.mark.parametrize(
    ("op", "args"), [pytest.param(op, args, id=id) for op, args, id in BAD_ARGS]
)
def test_bad_args_are_invalid_and_kept(daemon, peer, rows, op, args):
    first = refused(peer, request(peer.client_id, 1, op, args), seq=1)

    peer.send_frame(request(peer.client_id, 1, op, args))
    assert peer.receive() == first
    assert peer.hello()["last_seq"] == 1


@pytest.mark.parametrize("depth", [2, 33, 100, 500, 1000])
@pytest.mark.parametrize("place", ["args", "transaction", "commands"])
def test_args_nested_deep_are_invalid_and_kept(peer, depth, place):
    deep = b"\x81" + pack("name") + nested(depth)
    if place == "transaction":
        args = b"\x81" + pack("commands") + b"\x91\x92" + pack("session.create") + deep
    elif place == "commands":
        args = b"\x81" + pack("commands") + nested(depth)
    else:
        args = deep
    op = "session.create" if place == "args" else "transaction"
    frame = frame_of(peer, op=op, args=args)

    first = refused(peer, frame, seq=1)

    peer.send_frame(frame)
    assert peer.receive() == first
    other = frame_of(peer, op=op, args=args[:-1] + b"\x01")
    refused(peer, other, seq=1, code="sequence_reused")
    assert peer.hello()["last_seq"] == 1


def test_a_deep_element_of_a_pipeline_costs_its_neighbours_nothing(peer):
    create = pack(CREATE)
    deep = b"\x92" + pack("session.create") + b"\x81" + pack("name") + nested(200)
    args = b"\x81" + pack("commands") + b"\x93" + create + deep + create

    peer.send_frame(frame_of(peer, op="pipeline", args=args))
    answer = peer.receive()

    assert [status for status, _ in answer.body["replies"]] == [0, 1, 0]
    assert answer.body["replies"][1][1]["code"] == "invalid"


@pytest.mark.parametrize("options", [None, 7, "full", [], ["full"], True, math.nan, b""])
def test_options_that_are_no_map_are_invalid(peer, options):
    refused(peer, request(peer.client_id, 1, *CREATE, options=options), seq=1)

    assert peer.hello()["last_seq"] == 1


def test_nothing_of_what_was_refused_is_in_the_database(daemon, peer, rows):
    before = rows(daemon.home, "SELECT count(*) FROM sessions")

    for op, args, _ in BAD_ARGS:
        peer.refused(op, args)

    assert rows(daemon.home, "SELECT count(*) FROM sessions") == before
