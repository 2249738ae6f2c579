"""Wire protocol 1 as bytes: what decodes, what does not, and which content is the same."""

import math
import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb import wire
from luludb.errors import InvalidRequest
from luludb.model import Outcome, Request
from luludb.wire import (
    content_digest,
    decode_durability,
    decode_kept,
    decode_notice,
    decode_reply,
    decode_request,
    encode_body,
    encode_content,
    encode_kept,
    encode_notice,
    encode_pipeline,
    encode_pipeline_body,
    encode_reply,
    encode_request,
)

ID = bytes(range(16))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=20,
)
ARGS = st.dictionaries(st.text(), VALUES, max_size=5)


# Requests.


def test_decode_request_reads_all_seven_elements():
    frame = msgpack.packb([1, ID, 7, 3, "ping", {"a": 1}, {"durability": "full"}])

    assert decode_request(frame) == Request(1, ID, 7, 3, "ping", {"a": 1}, {"durability": "full"})


def test_decode_request_gives_no_options_where_there_are_none():
    assert decode_request(msgpack.packb([1, ID, 0, 0, "ping", {}])).options == {}


def test_decode_request_ignores_more_elements():
    frame = msgpack.packb([1, ID, 0, 0, "ping", {}, {}, "more", [1]])

    assert decode_request(frame) == Request(1, ID, 0, 0, "ping", {}, {})


@given(st.binary(max_size=200))
def test_decode_request_of_any_bytes_returns_or_is_invalid(frame):
    try:
        request = decode_request(frame)
    except InvalidRequest:
        return
    assert [type(element) for element in request[:6]] == [int, bytes, int, int, str, dict]


@given(VALUES)
def test_decode_request_of_any_value_returns_or_is_invalid(value):
    with pytest.raises(InvalidRequest):
        decode_request(msgpack.packb(value))


@given(st.lists(VALUES, min_size=6, max_size=8))
def test_decode_request_of_any_list_returns_or_is_invalid(elements):
    try:
        request = decode_request(msgpack.packb(elements))
    except InvalidRequest:
        return
    assert len(request.client_id) == 16


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 2**64 - 1])
@pytest.mark.parametrize("place", [0, 2, 3])
def test_integers_of_2_to_the_53_and_beyond_are_not_readable(place, number):
    elements = [1, ID, 0, 0, "ping", {}]
    elements[place] = number

    with pytest.raises(InvalidRequest):
        decode_request(msgpack.packb(elements))


@given(
    seq=st.integers(0, 2**53 - 1),
    acked=st.integers(0, 2**53 - 1),
    op=st.text(),
    args=ARGS,
    full=st.booleans(),
)
def test_a_request_decodes_to_what_was_encoded(seq, acked, op, args, full):
    frame = encode_request(ID, seq, acked, encode_content(op, args), full=full)

    options = {"durability": "full"} if full else {}
    assert decode_request(frame) == Request(1, ID, seq, acked, op, args, options)


@given(st.lists(st.tuples(st.text(), ARGS), max_size=4))
def test_a_pipeline_decodes_to_the_contents_that_it_was_made_of(commands):
    content = encode_pipeline([encode_content(op, args) for op, args in commands])

    request = decode_request(encode_request(ID, 5, 4, content))

    assert request.op == "pipeline"
    assert request.args == {"commands": [[op, args] for op, args in commands]}


@pytest.mark.parametrize(
    "args",
    [
        pytest.param({"content": "\ud800"}, id="lone-surrogate"),
        pytest.param({"content": 2**64}, id="integer-beyond-64-bits"),
        pytest.param({"content": object()}, id="object"),
        pytest.param({"content": {1, 2}}, id="set"),
        pytest.param({"\udfff": ""}, id="surrogate-in-a-key"),
    ],
)
def test_encode_content_refuses_what_cannot_be_sent(args):
    with pytest.raises(InvalidRequest, match=r"message\.append"):
        encode_content("message.append", args)


# Replies and notices.


@given(st.integers(0, 2**53 - 1), st.sampled_from([0, 1]), ARGS)
def test_a_reply_decodes_to_what_was_encoded(seq, status, body):
    assert decode_reply(encode_reply(seq, Outcome(status, encode_body(body)))) == (
        1,
        seq,
        status,
        body,
    )


@pytest.mark.parametrize("count", [0, 1, 15, 16, 256])
def test_a_pipelines_body_has_one_pair_for_each_outcome(count):
    outcomes = [Outcome(n % 2, encode_body({"rev": n})) for n in range(count)]

    body = msgpack.unpackb(encode_pipeline_body(outcomes, "full"))

    assert body == {
        "durability": "full",
        "replies": [[n % 2, {"rev": n}] for n in range(count)],
    }


@given(st.binary(max_size=100))
def test_decode_reply_and_notice_of_any_bytes_return_or_are_invalid(frame):
    for decode in (decode_reply, decode_notice):
        try:
            decode(frame)
        except InvalidRequest:
            continue


def test_a_notice_is_a_list_of_one_rev():
    assert msgpack.unpackb(encode_notice(2**53 - 1)) == [2**53 - 1]
    assert decode_notice(encode_notice(7)) == 7


def test_kept_replies_decode_to_what_was_kept():
    kept = [(n, bytes([n] * 16), n % 2, b"\x80" * n) for n in range(1, 20)]

    assert decode_kept(encode_kept(kept)) == kept


def test_decode_durability_finds_the_level_of_a_body():
    assert decode_durability(encode_body({"rev": 1, "durability": "full"})) == "full"
    assert decode_durability(encode_body({"rev": 1})) is None


# Which content is the same.


def reversed_everywhere(value):
    match value:
        case dict():
            return {key: reversed_everywhere(value[key]) for key in reversed(value)}
        case list():
            return [reversed_everywhere(element) for element in value]
    return value


@given(st.text(), ARGS)
def test_the_order_of_keys_is_no_content(op, args):
    assert content_digest(op, args) == content_digest(op, reversed_everywhere(args))


@given(ARGS, ARGS)
def test_other_args_have_another_digest(one, other):
    same = msgpack.packb(one) == msgpack.packb(other)
    if same or one != other:
        assert (content_digest("op", one) == content_digest("op", other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"a": 1}, {"a": True}, id="boolean"),
        pytest.param({"a": 1}, {"a": 1.0}, id="float"),
        pytest.param({"a": "x"}, {"a": b"x"}, id="bin"),
        pytest.param({"a": None}, {}, id="nil"),
        pytest.param({"a": []}, {"a": {}}, id="empty-list-and-map"),
        pytest.param({"a": ["b", "c"]}, {"a": ["c", "b"]}, id="order-in-a-list"),
        pytest.param({"a": "b"}, {"b": "a"}, id="key-and-value"),
        pytest.param({1: "a"}, {"1": "a"}, id="key-type"),
    ],
)
def test_values_that_python_takes_for_like_are_other_content(one, other):
    assert content_digest("op", one) != content_digest("op", other)


def test_another_op_is_other_content():
    assert content_digest("session.delete", {"id": "x"}) != content_digest(
        "message.delete", {"id": "x"}
    )


def deep(levels, end, wrap):
    value = end
    for _ in range(levels):
        value = wrap(value)
    return {"name": value}


@pytest.mark.parametrize("levels", [31, 32, 33, 600, 1000])
@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda inner: [inner], id="lists"),
        pytest.param(lambda inner: {"b": inner, "a": 1}, id="maps"),
    ],
)
def test_content_nested_deep_has_a_digest_of_its_own(levels, wrap):
    digest = content_digest("op", deep(levels, "end", wrap))

    assert digest == content_digest("op", deep(levels, "end", wrap))
    assert digest != content_digest("op", deep(levels, "other", wrap))
    assert digest != content_digest("op", deep(levels + 1, "end", wrap))


def test_the_order_of_keys_is_no_content_however_deep():
    one = deep(500, 0, lambda inner: {"b": inner, "a": 1})
    other = deep(500, 0, lambda inner: {"a": 1, "b": inner})

    assert content_digest("op", one) == content_digest("op", other)


def test_digests_are_those_that_older_daemons_wrote():
    """They are kept in the database, so they may not change while the schema does not."""
    assert content_digest("session.delete", {"id": "x"}).hex() == SESSION_DELETE
    assert content_digest("transaction", {"commands": [["a", {"c": 1, "b": None}]]}).hex() == NESTED
    assert content_digest("x", {1: "a", "b": b"", None: math.inf}).hex() == MIXED


SESSION_DELETE = "11412380a1fc135e2574fbdf358dc80f"
NESTED = "e9e204f454078fe892ecf24b37b9186b"
MIXED = "06459d2b751fca8840c47cf3cbe24553"


def test_floats_of_either_width_are_the_same_content():
    short = msgpack.unpackb(b"\x81\xa1a\xca" + struct.pack(">f", 0.5))
    long = msgpack.unpackb(b"\x81\xa1a\xcb" + struct.pack(">d", 0.5))

    assert content_digest("op", short) == content_digest("op", long)


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(b"\xdd" + (4_000_000).to_bytes(4) + b"\x90" * 4_000_000, id="one-list"),
        pytest.param(
            b"\xdc" + (61).to_bytes(2) + (b"\xdc\xff\xff" + b"\x90" * 65_535) * 61, id="lists"
        ),
        pytest.param(
            b"\xdc" + (61).to_bytes(2) + (b"\xdc\xff\xff" + b"\x80" * 65_535) * 61, id="maps"
        ),
    ],
)
def test_millions_of_containers_are_refused_before_they_are_looked_at(commands, monkeypatch):
    looked_at = []
    monkeypatch.setattr(wire, "_canonical", lambda value, _: looked_at.append(value))
    frame = b"\x96\x01\xc4\x10" + bytes(16) + b"\x01\x00\xabtransaction\x81\xa8commands" + commands

    with pytest.raises(InvalidRequest):
        decode_request(frame)

    assert not looked_at


def test_as_many_commands_as_are_allowed_are_readable():
    commands = [["message.append", {"session_id": "s", "role": "r", "content": "c" * 100}]] * 10_000
    frame = msgpack.packb([1, bytes(16), 1, 0, "transaction", {"commands": commands}])

    assert decode_request(frame).args == {"commands": commands}
