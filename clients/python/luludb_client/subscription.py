"""The bytes of one SUB connection to the changes endpoint, without any I/O.

ZeroMQ's publish and subscribe over ZMTP 3.0: a subscription is a message that begins with 0x01
(rfc.zeromq.org/spec/23), and it may go out once the peer's READY is in.
"""

from __future__ import annotations

from typing import Final

from luludb.errors import InvalidRequest
from luludb.wire import decode_notice
from luludb_client.feed import Feed
from luludb_client.zmtp import Decoder, Message, encode_frame, encode_opening

OPENING: Final = encode_opening("SUB")
"""What goes out first."""

_SUBSCRIBE: Final = b"\x01"


class Subscription:
    """Subscribes to what `feed` watches, and tells it of each notice."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._decoder = Decoder()
        self._is_subscribed = False

    def receive(self, received: bytes, now_s: float) -> bytes:
        """Take in what the connection received. Returns what is to be sent, often nothing.

        Raises:
            TransportError: the peer is no publisher; the connection is of no more use.
        """
        feed = self._feed
        # Revs rise, so the last notice of interest tells of all before it.
        for message in reversed(self._decoder.feed(received)):
            if feed.topic in (b"", message[0]):
                feed.rang(message[0], _rev_of(message))
                break
        if self._is_subscribed or not self._decoder.is_ready:
            return b""
        self._is_subscribed = True
        self._feed.subscribed(now_s)
        return encode_frame(_SUBSCRIBE + self._feed.topic)


def _rev_of(message: Message) -> int | None:
    try:
        return decode_notice(message[-1])
    except InvalidRequest:
        return None
