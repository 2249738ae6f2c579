"""The bytes of a subscription, without a socket."""

from __future__ import annotations

import pytest

from luludb.limits import WATCH_LOOK_S, WATCH_SETTLE_S
from luludb.tables.meta import Marks
from luludb.wire import encode_notice
from luludb_client.feed import Feed
from luludb_client.look import Look
from luludb_client.subscription import OPENING, Subscription
from luludb_client.zmtp import TransportError, encode_opening

PUBLISHER = encode_opening("XPUB")
NOW_S = 1000.0


def quiet_feed(session_id: str | None = None) -> Feed:
    """A feed that has looked just now."""
    feed = Feed(session_id, None)
    feed.take(Look(Marks("id", 1, 0), None, [], 0, None), NOW_S)
    return feed


def notice(topic: bytes, payload: bytes) -> bytes:
    return b"".join(
        bytes((flags, len(frame))) + frame for flags, frame in ((1, topic), (0, payload))
    )


def test_the_opening_names_the_socket_type() -> None:
    assert OPENING.endswith(b"\x0bSocket-Type\0\0\0\x03SUB")


@pytest.mark.parametrize(
    ("session_id", "message"), [(None, b"\0\x01\x01"), ("ü", b"\0\x03\x01\xc3\xbc")]
)
def test_it_subscribes_once_the_peer_is_ready(session_id: str | None, message: bytes) -> None:
    feed = quiet_feed(session_id)
    subscription = Subscription(feed)

    assert subscription.receive(PUBLISHER[:70], NOW_S) == b""
    assert feed.due_s == NOW_S + WATCH_LOOK_S
    assert subscription.receive(PUBLISHER[70:], NOW_S) == message
    assert feed.due_s == NOW_S + WATCH_SETTLE_S
    assert subscription.receive(notice(b"other", b"?"), NOW_S) == b""


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(encode_notice(1), id="a-rev"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no-msgpack"),
        pytest.param(b"\x91\xa1a", id="no-rev"),
    ],
)
def test_a_notice_makes_a_look_due_readable_or_not(payload: bytes) -> None:
    feed = quiet_feed()
    subscription = Subscription(feed)

    subscription.receive(PUBLISHER + notice(b"s", payload), NOW_S)

    assert feed.due_s <= 0


@pytest.mark.parametrize(
    ("notices", "is_due"),
    [
        pytest.param([(b"s", 1), (b"t", 2), (b"su", 3)], True, id="ours-comes-first"),
        pytest.param([(b"t", 1), (b"s", 2)], True, id="ours-comes-last"),
        pytest.param([(b"t", 1), (b"su", 2)], False, id="none-is-ours"),
        pytest.param([(b"s", 0), (b"t", 1)], False, id="ours-was-seen"),
        pytest.param([(b"s", 0), (b"s", 1)], True, id="only-the-last-is-new"),
    ],
)
def test_of_notices_that_come_together_the_last_one_of_interest_tells(
    notices: list[tuple[bytes, int]], is_due: bool
) -> None:
    feed = quiet_feed("s")
    subscription = Subscription(feed)
    subscription.receive(PUBLISHER, NOW_S)
    feed.due_s = NOW_S + WATCH_LOOK_S

    subscription.receive(b"".join(notice(s, encode_notice(rev)) for s, rev in notices), NOW_S)

    assert (feed.due_s <= NOW_S) == is_due


def test_what_is_no_publisher_is_refused() -> None:
    with pytest.raises(TransportError):
        Subscription(quiet_feed()).receive(b"HTTP/1.1 400 Bad Request\r\n", NOW_S)
