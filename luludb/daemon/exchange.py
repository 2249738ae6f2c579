"""One frame and its answer: the requests that a frame holds, and the frame that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luludb.appends import APPEND, AppendMessages
from luludb.commands import (
    COMPACT,
    NORMAL,
    OP_OF_COMMAND,
    PIPELINE,
    TRANSACTION,
    check_options,
    plain_pipeline,
    split_pipeline,
)
from luludb.errors import InvalidRequest, LuludbError, TooLarge, UnsupportedProtocol
from luludb.limits import (
    FRAME_BYTES_MAX,
    PIPELINE_REPLY_BYTES_MAX,
    REFUSAL_BYTES_MAX,
    REPLY_BYTES_MAX,
)
from luludb.model import ERROR, OK, PROTOCOL, Outcome
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
        digest: of op and args; none of a control request, which is answered without a place in
            the client's sequence.
    """

    __slots__ = ("acked", "args", "client_id", "digest", "exchange", "op", "outcome", "seq")

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
        self.digest = content_digest(op, args) if seq or op in _COMMANDS else b""
        self.outcome: Outcome | None = None

    def items(self) -> Sequence[Item]:
        """Itself."""
        return (self,)


_COMMANDS = frozenset({*OP_OF_COMMAND.values(), TRANSACTION, PIPELINE})


class Appends:
    """A pipeline of plain appends: the usual one, which the writer tries to apply at once.

    Attributes:
        columns: what to append.
        bodies: of the replies, in order, once it was applied at once.
    """

    __slots__ = ("acked", "args", "bodies", "client_id", "columns", "exchange", "seq")

    def __init__(
        self,
        exchange: Exchange,
        client_id: bytes,
        seq: int,
        acked: int,
        columns: AppendMessages,
        args: list[dict[Any, Any]],
    ) -> None:
        self.exchange = exchange
        self.client_id = client_id
        self.seq = seq
        self.acked = acked
        self.columns = columns
        self.args = args
        self.bodies: list[bytes] = []

    def digests(self) -> list[bytes]:
        """Of op and args of each."""
        return [content_digest(APPEND, args) for args in self.args]

    def items(self) -> Sequence[Item]:
        """Its commands as items of the exchange, where they stand for it from now on."""
        exchange = self.exchange
        if exchange.parts == [self]:
            exchange.parts = [
                Item(exchange, self.client_id, seq, self.acked, APPEND, args)
                for seq, args in enumerate(self.args, self.seq)
            ]
        return exchange.parts  # type: ignore[return-value]  # nothing else is in it


Part = Item | Appends


class Exchange:
    """One frame from a client and the one frame that answers it.

    Attributes:
        parts: what is to be done, in order; empty where the frame was refused whole.
        commands: how many commands it holds.
        is_pipeline: whether it answers for several commands in one frame.
        is_awaited: whether all that its client sent before is answered, as of one that blocks;
            never of a pipeline.
        is_compaction: whether it is the control request `compact`, done behind the turn's batch.
        durability: the level that the frame's options ask for, or None.
        met: the level at which its commands were committed.
        repeats_normal: whether a kept reply among its outcomes was committed at `normal`.
        options_error: why its options are not allowed, or None.
    """

    commands = 1
    is_pipeline = False
    is_awaited = False
    is_compaction = False
    durability: str | None = None
    met = ""
    repeats_normal = False
    options_error: LuludbError | None = None
    _seq = 0
    _answered_bytes = 0
    _refusal: dict[str, Any] | None = None

    def __init__(self, envelope: Envelope, frame: bytes) -> None:
        self.envelope = envelope
        self.parts: list[Part] = []
        try:
            self._open(frame)
        except LuludbError as error:
            # Not the error: its traceback holds this frame, and so this object.
            self._refusal = error.body()

    @property
    def connection(self) -> bytes:
        """The routing id of the peer's connection."""
        return self.envelope[0]

    @property
    def refused_as(self) -> str:
        """The code with which the frame was refused whole; empty where it was not."""
        return "" if self._refusal is None else str(self._refusal["code"])

    def reply_bytes_left(self) -> int:
        """How many bytes the next body may have, so that a pipeline's reply has room for all."""
        if not self.is_pipeline:
            return REPLY_BYTES_MAX
        reserved = len(self.parts) * REFUSAL_BYTES_MAX
        return min(REPLY_BYTES_MAX, PIPELINE_REPLY_BYTES_MAX - reserved - self._answered_bytes)

    def answer(self, item: Item, outcome: Outcome | None) -> None:
        """Set what became of an item of a pipeline; None takes it back."""
        if item.outcome is not None:
            self._answered_bytes -= len(item.outcome.body)
        if outcome is not None:
            self._answered_bytes += len(outcome.body)
        item.outcome = outcome

    def reply(self) -> bytes:
        """The frame that answers, when every part has its outcome."""
        if self._refusal is not None:
            return encode_reply(self._seq, Outcome(ERROR, encode_body(self._refusal)))
        if not self.is_pipeline:
            return encode_reply(self._seq, self.parts[0].outcome)  # type: ignore[union-attr,arg-type]
        outcomes: list[Outcome] = []
        for part in self.parts:
            if type(part) is Appends:
                outcomes += [Outcome(OK, body) for body in part.bodies]
            else:
                outcomes.append(part.outcome)  # type: ignore[union-attr,arg-type]
        body = encode_pipeline_body(outcomes, NORMAL if self.repeats_normal else self.met)
        return encode_reply(self._seq, Outcome(OK, body))

    def _open(self, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES_MAX:
            raise TooLarge(f"frame has {len(frame)} bytes; the most is {FRAME_BYTES_MAX}")
        protocol, client_id, seq, acked, op, args, options = decode_request(frame)
        self._seq = seq
        if protocol != PROTOCOL:
            raise UnsupportedProtocol(f"protocol is {protocol}; this daemon speaks {PROTOCOL}")
        if options or type(options) is not dict:
            try:
                self.durability = check_options(options)
            except InvalidRequest as error:
                self.options_error = error
        if op != PIPELINE:
            self.is_awaited = seq - acked == 1
            self.is_compaction = seq == 0 and op == COMPACT
            self.parts = [Item(self, client_id, seq, acked, op, args)]
            return
        self.is_pipeline = True
        columns = plain_pipeline(args)
        if columns is not None:
            several = [inner for _, inner in args["commands"]]
            self.parts = [Appends(self, client_id, seq, acked, columns, several)]
            self.commands = len(several)
            return
        self.parts = [
            Item(self, client_id, each_seq, acked, inner_op, inner_args)
            for each_seq, (inner_op, inner_args) in enumerate(split_pipeline(args), seq)
        ]
        self.commands = len(self.parts)
