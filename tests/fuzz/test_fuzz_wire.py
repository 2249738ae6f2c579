"""Any bytes: decoding gives a request or the one protocol error, and any frame gets one answer."""

from __future__ import annotations

import random
from typing import Any

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from luludb.daemon.exchange import Exchange
from luludb.errors import InvalidRequest
from luludb.model import Outcome, Request
from luludb.wire import decode_notice, decode_reply, decode_request
from tests.fuzz.frames import mutated, real_frames

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
)
keys = st.text(max_size=5) | st.integers(-5, 5) | st.binary(max_size=5) | st.none()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)
ops = st.sampled_from(
    ["hello", "ping", "message.append", "session.create", "transaction", "pipeline", ""]
)
nearly_commands = st.lists(
    st.tuples(ops | values, st.dictionaries(keys, values, max_size=3) | values).map(list) | values,
    max_size=4,
)
nearly_args = st.dictionaries(keys, values, max_size=4) | st.fixed_dictionaries(
    {"commands": nearly_commands | values}
)
requests = st.tuples(
    st.just(1), st.binary(min_size=16, max_size=16), st.integers(-2, 300), st.integers(-2, 300), ops
).flatmap(lambda head: nearly_args.map(lambda args: [*head, args]))


@st.composite
def spoilt_requests(draw: st.DrawFn) -> list[Any]:
    """A request with one element of any kind, so that those in front of it are passed."""
    elements = draw(requests)
    at = draw(st.integers(0, len(elements)))
    elements[at : at + 1] = [draw(values)]
    return elements


frames = (
    st.binary(max_size=200)
    | values.map(msgpack.packb)
    | requests.map(msgpack.packb)
    | spoilt_requests().map(msgpack.packb)
    | st.builds(
        lambda frame, seed: mutated(frame, random.Random(seed)),
        st.sampled_from(real_frames(bytes(16))),
        st.integers(0, 2**32),
    )
)


@given(frames)
@example(b"")
@example(b"\x91" * 5000)
@example(b"\x96\x01\xc4\x10" + bytes(16) + b"\x01\x00\xa4ping" + b"\x81\x90" * 3)
def test_any_frame_decodes_to_a_request_or_is_invalid(frame: bytes) -> None:
    try:
        decoded = decode_request(frame)
    except InvalidRequest as error:
        assert error.message
    else:
        assert type(decoded) is Request


@given(frames)
def test_any_frame_decodes_to_a_reply_or_is_invalid(frame: bytes) -> None:
    for decode in (decode_reply, decode_notice):
        try:
            decode(frame)
        except InvalidRequest as error:
            assert error.message


@given(frames)
@example(b"")
@example(b"\x96\x01\xc4\x10" + bytes(16) + b"\x01\x00\xa1x\x81\xa1a" + b"\x91" * 500 + b"\x90")
def test_any_frame_gets_one_answer(frame: bytes) -> None:
    check_answer(frame)


@given(spoilt_requests())
@example([1, bytes(16), 1, 0, "message.append", 5])
@example([1, bytes(16), 1, 0, "pipeline", {"commands": [["ping", None]]}])
def test_a_request_with_one_element_of_any_kind_gets_one_answer(elements: list[Any]) -> None:
    check_answer(msgpack.packb(elements))


def check_answer(frame: bytes) -> None:
    exchange = Exchange([b"route"], frame)

    for part in list(exchange.parts):
        for item in part.items():
            exchange.answer(item, Outcome(0, b"\x80"))

    protocol, _, status, body = msgpack.unpackb(exchange.reply())
    assert protocol == 1
    assert status == 0 or body["code"]
