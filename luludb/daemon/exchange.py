"""One frame and its answer: the requests that a frame holds, and the frame that answers them."""

from __future__ import annotations

from typing import Any

from luludb.commands import (
    NORMAL,
    OP_OF_COMMAND,
    PIPELINE,
    TRANSACTION,
    check_options,
    split_pipeline,
)
from luludb.errors import InvalidRequest, LuludbError, TooLarge, UnsupportedProtocol
from luludb.limits import (
    FRAME_BYTES_MAX,
    PIPELINE_REPLY_BYTES_MAX,
    REFUSAL_BYTES_MAX,
    REPLY_BYTES_MAX,
)
from luludb.model import ERROR, PROTOCOL, Outcome
from luludb.wire import (
    content_digest,
    decode_request,
    encode_body,
    encode_pipeline_body,
    encode_reply,
)

Envelope = list[bytes]
"""What stands before the payload in a ROUTER's message: the route, for a REQ an empty frame."""


class Item:
    """One command or control request, and what became of it.

    Attributes:
        is_control: whether it is answered without a place in the client's sequence.
    """

    __slots__ = (
        "acked",
        "args",
        "client_id",
        "digest",
        "exchange",
        "is_control",
        "op",
        "outcome",
        "seq",
    )

    def __init__(
        self,
        exchange: Exchange,
        client_id: bytes,
        seq: int,
        acked: int,
        op: str,
        args: dict[Any, Any],
    ) -> None:
        self.exchange = exchange
        self.client_id = client_id
        self.seq = seq
        self.acked = acked
        self.op = op
        self.args = args
        self.is_control = seq == 0 and op not in _COMMANDS
        self.digest = b"" if self.is_control else content_digest(op, args)
        self.outcome: Outcome | None = None


_COMMANDS = frozenset({*OP_OF_COMMAND.values(), TRANSACTION, PIPELINE})


class Exchange:
    """One frame from a client and the one frame that answers it.

    Attributes:
        items: what is to be done, in order; empty where the frame was refused whole.
        is_pipeline: whether it answers for several commands in one frame.
        durability: the level that the frame's options ask for, or None.
        met: the level at which its commands were committed.
        repeats_normal: whether a kept reply among its outcomes was committed at `normal`.
        options_error: why its options are not allowed, or None.
    """

    __slots__ = (
        "_answered_bytes",
        "_refusal",
        "_seq",
        "durability",
        "envelope",
        "is_pipeline",
        "items",
        "met",
        "options_error",
        "repeats_normal",
    )

    def __init__(self, envelope: Envelope, frame: bytes) -> None:
        self.envelope = envelope
        self.items: list[Item] = []
        self.durability: str | None = None
        self.options_error: LuludbError | None = None
        self.met = ""
        self.repeats_normal = False
        self._seq = 0
        self._answered_bytes = 0
        self.is_pipeline = False
        self._refusal: dict[str, Any] | None = None
        try:
            self._open(frame)
        except LuludbError as error:
            # Not the error: its traceback holds this frame, and so this object.
            self._refusal = error.body()
            self.items = []

    @property
    def connection(self) -> bytes:
        """The routing id of the peer's connection."""
        return self.envelope[0]

    def reply_bytes_left(self) -> int:
        """How many bytes the next body may have, so that a pipeline's reply has room for all."""
        if not self.is_pipeline:
            return REPLY_BYTES_MAX
        reserved = len(self.items) * REFUSAL_BYTES_MAX
        return min(REPLY_BYTES_MAX, PIPELINE_REPLY_BYTES_MAX - reserved - self._answered_bytes)

    def answer(self, item: Item, outcome: Outcome | None) -> None:
        """Set what became of `item`; None takes it back."""
        if self.is_pipeline:
            if item.outcome is not None:
                self._answered_bytes -= len(item.outcome.body)
            if outcome is not None:
                self._answered_bytes += len(outcome.body)
        item.outcome = outcome

    def reply(self) -> bytes:
        """The frame that answers, when every item has its outcome."""
        if self._refusal is not None:
            return encode_reply(self._seq, Outcome(ERROR, encode_body(self._refusal)))
        if not self.is_pipeline:
            outcome = self.items[0].outcome
            assert outcome is not None
            return encode_reply(self._seq, outcome)
        outcomes = [item.outcome for item in self.items]
        assert None not in outcomes
        met = NORMAL if self.repeats_normal else self.met
        body = encode_pipeline_body(outcomes, met)  # type: ignore[arg-type]
        return encode_reply(self._seq, Outcome(0, body))

    def _open(self, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES_MAX:
            raise TooLarge(f"frame has {len(frame)} bytes; the most is {FRAME_BYTES_MAX}")
        request = decode_request(frame)
        if request.protocol != PROTOCOL:
            self._seq = request.seq
            raise UnsupportedProtocol(
                f"protocol is {request.protocol}; this daemon speaks {PROTOCOL}"
            )
        _, client_id, seq, acked, op, args, options = request
        if options or type(options) is not dict:
            try:
                self.durability = check_options(options)
            except InvalidRequest as error:
                self.options_error = error
        if op != PIPELINE:
            self.items = [Item(self, client_id, seq, acked, op, args)]
            self._seq = seq
            return
        self.is_pipeline = True
        pairs = self._split(seq, args)
        self.items = [
            Item(self, client_id, seq + index, acked, inner_op, inner_args)
            for index, (inner_op, inner_args) in enumerate(pairs)
        ]
        self._seq = seq

    def _split(self, seq: int, args: dict[Any, Any]) -> list[tuple[str, dict[Any, Any]]]:
        try:
            return split_pipeline(args)
        except (InvalidRequest, TooLarge):
            self._seq = seq
            raise
