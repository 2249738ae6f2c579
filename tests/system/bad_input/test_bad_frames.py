"""Frames that cannot be read, are too large, or have another shape disturb nobody."""

import math
import os
import socket

import pytest
import zmq

from tests.peer import Answer, answer_of, discovery, pack, request
from tests.system.bad_input.handmade import CREATE, SESSION, frame_of, nested, refused

MEBIBYTE = 1024 * 1024


# Frames that are not readable: `invalid` with seq 0, and nothing is consumed.


ID = b"\x01" * 16


UNREADABLE = {
    "no-bytes": b"",
    "one-byte": b"\xc1",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "random": bytes(range(256)),
    "json": b'[1, "id", 1, 0, "ping", {}]',
    "truncated": request(ID, 1, *CREATE)[:-1],
    "cut-in-the-head": request(ID, 1, *CREATE)[:12],
    "more-bytes-behind": request(ID, 1, *CREATE) + b"\x00",
    "two-requests-in-one": request(ID, 1, *CREATE) * 2,
    "array-that-claims-four-billion": b"\xdd\xff\xff\xff\xff",
    "map-that-claims-four-billion": b"\xdf\xff\xff\xff\xff",
    "str-that-claims-four-gigabytes": b"\xdb\xff\xff\xff\xff",
    "nested-a-hundred-thousand-deep": nested(100_000),
    "nested-maps-a-hundred-thousand-deep": b"\x81\xa1a" * 100_000 + b"\xc0",
    "nil": pack(None),
    "an-integer": pack(1),
    "a-map": pack({"protocol": 1}),
    "a-str": pack("ping"),
    "no-elements": pack([]),
    "five-elements": pack([1, ID, 0, 0, "ping"]),
    "no-client-id": pack([1, 0, 0, "ping", {}]),
    "nil-for-the-client-id": pack([1, None, 1, 0, *CREATE]),
    "empty-client-id": pack([1, b"", 1, 0, *CREATE]),
    "client-id-of-15-bytes": pack([1, b"x" * 15, 1, 0, *CREATE]),
    "client-id-of-17-bytes": pack([1, b"x" * 17, 1, 0, *CREATE]),
    "client-id-as-str": pack([1, "x" * 16, 1, 0, *CREATE]),
    "protocol-as-str": pack(["1", ID, 1, 0, *CREATE]),
    "protocol-as-boolean": pack([True, ID, 1, 0, *CREATE]),
    "protocol-as-float": pack([1.0, ID, 1, 0, *CREATE]),
    "protocol-nil": pack([None, ID, 1, 0, *CREATE]),
    "seq-as-boolean": pack([1, ID, True, 0, *CREATE]),
    "seq-as-float": pack([1, ID, 1.0, 0, *CREATE]),
    "seq-as-str": pack([1, ID, "1", 0, *CREATE]),
    "seq-nil": pack([1, ID, None, 0, *CREATE]),
    "seq-2^53": pack([1, ID, 2**53, 0, *CREATE]),
    "seq-2^64-1": pack([1, ID, 2**64 - 1, 0, *CREATE]),
    "seq-minus-2^63": pack([1, ID, -(2**63), 0, *CREATE]),
    "acked-as-boolean": pack([1, ID, 1, False, *CREATE]),
    "acked-as-float": pack([1, ID, 1, 0.0, *CREATE]),
    "acked-nan": pack([1, ID, 1, math.nan, *CREATE]),
    "acked-2^53": pack([1, ID, 1, 2**53, *CREATE]),
    "acked-nil": pack([1, ID, 1, None, *CREATE]),
    "op-as-bin": pack([1, ID, 1, 0, b"session.create", SESSION]),
    "op-as-integer": pack([1, ID, 1, 0, 7, SESSION]),
    "op-nil": pack([1, ID, 1, 0, None, SESSION]),
    "op-as-list": pack([1, ID, 1, 0, ["session.create"], SESSION]),
    "args-as-list": pack([1, ID, 1, 0, "session.create", [SESSION]]),
    "args-nil": pack([1, ID, 1, 0, "ping", None]),
    "args-as-str": pack([1, ID, 1, 0, "ping", ""]),
    "invalid-utf-8-in-op": b"\x96\x01\xc4\x10" + ID + b"\x01\x00\xa2\xff\xfe\x80",
    "list-as-key": b"\x96\x01\xc4\x10" + ID + b"\x01\x00\xa4ping\x81\x90\x01",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_frame_that_is_not_readable_is_invalid_with_seq_0(peer, name):
    refused(peer, UNREADABLE[name].replace(ID, peer.client_id))

    assert peer.hello()["last_seq"] == 0
    assert peer.create_session()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xa2\xff\xfe", id="invalid-utf-8"),
        pytest.param(b"\xa3\xed\xa0\x80", id="lone-surrogate"),
        pytest.param(b"\xa2\xc3\x28", id="broken-sequence"),
        pytest.param(b"\xa2\xc0\x80", id="overlong-nul"),
    ],
)
@pytest.mark.parametrize("place", ["value", "key"])
def test_text_that_is_not_utf_8_does_not_decode(peer, text, place):
    pair = pack("name") + text if place == "value" else text + pack("n")

    refused(peer, frame_of(peer, args=b"\x82" + pair + pack("working_dir") + pack("/w")))

    assert peer.hello()["last_seq"] == 0


def test_every_truncation_of_a_request_is_answered(peer):
    frame = request(peer.client_id, 1, *CREATE, options={"durability": "full"})

    for length in range(len(frame)):
        refused(peer, frame[:length])

    assert peer.hello()["last_seq"] == 0


# Sizes.


def padded(peer, frame_bytes, op="message.append"):
    """A request of exactly that many bytes."""
    args = {"session_id": "none", "role": "user", "content": ""}
    short = len(request(peer.client_id, 1, op, {**args, "content": "x" * 65_536})) - 65_536
    frame = request(peer.client_id, 1, op, {**args, "content": "x" * (frame_bytes - short)})
    assert len(frame) == frame_bytes
    return frame


def test_a_frame_of_16_mebibytes_is_read(peer):
    refused(peer, padded(peer, 16 * MEBIBYTE), seq=1, code="not_found")


@pytest.mark.parametrize("frame_bytes", [16 * MEBIBYTE + 1, 17 * MEBIBYTE])
@pytest.mark.parametrize("op", ["message.append", "pipeline"])
def test_a_frame_of_up_to_17_mebibytes_is_too_large_with_seq_0(peer, frame_bytes, op):
    refused(peer, padded(peer, frame_bytes, op), code="too_large")

    assert peer.hello()["last_seq"] == 0
    assert peer.create_session()


def test_a_frame_above_17_mebibytes_ends_its_connection_unanswered(daemon, connect):
    peer = connect(daemon.home)
    monitor = peer.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    monitor.rcvtimeo = 20_000

    peer.send_frame(padded(peer, 17 * MEBIBYTE + 1))

    assert monitor.recv_multipart()
    peer.socket.disable_monitor()
    monitor.close()
    # libzmq has connected again by itself; there the client is not known to have said hello.
    assert peer.exchange(*CREATE, seq=1).body["code"] == "stale_connection"
    assert peer.hello()["last_seq"] == 0
    assert peer.create_session()


# Messages of another shape.


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"a", b"b"], id="two"),
        pytest.param([request(ID, 0, "ping", {})] * 2, id="two-requests"),
        pytest.param([request(ID, 0, "ping", {}), b""], id="delimiter-behind"),
        pytest.param([b"", b"", request(ID, 0, "ping", {})], id="two-delimiters"),
        pytest.param([b"", request(ID, 0, "ping", {}), b""], id="three"),
        pytest.param([b"x"] * 100, id="a-hundred"),
    ],
)
def test_a_message_of_another_shape_is_dropped_and_counted(peer, parts):
    before = peer.status()["dropped_frames_total"]

    peer.socket.send_multipart(parts)

    assert peer.hears_nothing()
    assert peer.status()["dropped_frames_total"] == before + 1


def test_empty_frames_alone_and_behind_a_delimiter_are_invalid(peer):
    peer.socket.send(b"")
    assert peer.receive().body["code"] == "invalid"

    peer.socket.send_multipart([b"", b""])
    assert answer_of(peer.socket.recv_multipart()[1]).body["code"] == "invalid"


def test_garbage_on_the_bare_socket_disturbs_nobody(daemon, peer):
    path = discovery(daemon.home)["command"].removeprefix("ipc://")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" + b"\0" * 80, b""):
        with socket.socket(socket.AF_UNIX) as bare:
            bare.connect(path)
            bare.sendall(garbage)

    assert peer.control("ping") == Answer(0, 0, {})


def test_a_message_that_quotes_input_stays_short(peer):
    long = "x" * 1_000_000
    for op, args in (
        (long, {}),
        ("session.create", {long: 1}),
        ("session.create", {**SESSION, "created_at": long}),
        ("session.create", {**SESSION, "name": [long] * 10}),
        ("session.create", {**SESSION, "name": 7, long: 1}),
    ):
        assert len(peer.refused(op, args)["message"]) < 1000
