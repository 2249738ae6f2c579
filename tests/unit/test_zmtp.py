"""ZMTP without I/O."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb.limits import MESSAGE_FRAMES_MAX, TRANSPORT_FRAME_BYTES_MAX
from luludb_client.zmtp import Decoder, TransportError, encode_frame, encode_opening

# What libzmq 4.3.5 sends first as a ROUTER: ZMTP 3.1, and an empty Identity.
LIBZMQ_OPENING = (
    b"\xff" + bytes(7) + b"\x01\x7f\x03\x01NULL" + bytes(16 + 32)
    + b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"
)  # fmt: skip
GREETING = LIBZMQ_OPENING[:64]
READY = LIBZMQ_OPENING[64:]


def test_an_opening_is_a_greeting_of_64_bytes_and_a_ready_command() -> None:
    opening = encode_opening("DEALER")

    assert opening[:12] == b"\xff" + bytes(8) + b"\x7f\x03\x00"
    assert opening[12:32] == b"NULL" + bytes(16)
    assert opening[32:64] == bytes(32)
    assert opening[64:] == b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000])
def test_frames_come_out_as_they_went_in(size: int) -> None:
    decoder = Decoder()

    messages = decoder.feed(LIBZMQ_OPENING + encode_frame(b"x" * size))

    assert messages == [(b"x" * size,)]


@given(st.lists(st.binary(max_size=600), max_size=6), st.integers(1, 200))
def test_messages_do_not_depend_on_how_the_bytes_were_cut(
    payloads: list[bytes], piece_bytes: int
) -> None:
    received = LIBZMQ_OPENING + b"".join(map(encode_frame, payloads))
    decoder = Decoder()

    messages = []
    for start in range(0, len(received), piece_bytes):
        messages += decoder.feed(received[start : start + piece_bytes])

    assert messages == [(payload,) for payload in payloads]
    assert decoder.is_ready


def test_a_message_of_several_frames_is_one_message() -> None:
    decoder = Decoder()

    messages = decoder.feed(LIBZMQ_OPENING + b"\x01\x01a\x01\x00\x00\x01b" + encode_frame(b"c"))

    assert messages == [(b"a", b"", b"b"), (b"c",)]


def test_commands_other_than_ready_are_ignored() -> None:
    decoder = Decoder()

    messages = decoder.feed(LIBZMQ_OPENING + b"\x04\x07\x04PING\x00\x00" + encode_frame(b"x"))

    assert messages == [(b"x",)]


def test_a_peer_is_not_ready_before_its_ready_command() -> None:
    decoder = Decoder()

    decoder.feed(GREETING)

    assert not decoder.is_ready


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"HTTP/1.1 400", id="http"),
        pytest.param(b"\xff" + bytes(8) + b"x", id="signature-with-another-end"),
        pytest.param(b"\xff" + bytes(8) + b"\x7f\x01", id="zmtp-1"),
        pytest.param(GREETING[:12] + b"PLAIN" + bytes(47), id="another-mechanism"),
        pytest.param(GREETING + b"\x04\x07\x05ERROR\x00", id="error-command"),
        pytest.param(GREETING + encode_frame(b"x"), id="message-before-ready"),
        pytest.param(LIBZMQ_OPENING + b"\x10\x00", id="unknown-flag"),
        pytest.param(
            LIBZMQ_OPENING + b"\x02" + (TRANSPORT_FRAME_BYTES_MAX + 1).to_bytes(8),
            id="frame-too-large",
        ),
        pytest.param(
            LIBZMQ_OPENING + b"\x01\x00" * (MESSAGE_FRAMES_MAX + 1), id="frames-without-end"
        ),
    ],
)
def test_what_is_no_peer_of_ours_is_refused(received: bytes) -> None:
    decoder = Decoder()

    with pytest.raises(TransportError):
        decoder.feed(received)


@given(
    st.sampled_from([b"", GREETING, LIBZMQ_OPENING]), st.lists(st.binary(max_size=80), max_size=5)
)
def test_any_bytes_give_messages_or_the_one_error(opening: bytes, pieces: list[bytes]) -> None:
    decoder = Decoder()

    try:
        for piece in (opening, *pieces):
            decoder.feed(piece)
    except TransportError:
        pass
