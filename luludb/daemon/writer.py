"""One turn of the daemon: raw requests in, replies and changes out. No socket.

All that a turn was given goes into one transaction. What becomes of a command is the same as if
it had come alone: where the transaction is lost, by a full disk or a bug, its commands run again
one at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import apsw

from luludb import __version__
from luludb.commands import CONTROL_OPS, NORMAL, check_no_args, parse_command
from luludb.daemon.clients import ClientState
from luludb.daemon.exchange import Envelope, Exchange, Item
from luludb.daemon.figures import Figures
from luludb.daemon.group_commit import GroupCommit
from luludb.daemon.transaction import BatchLost, OpenTransaction, storage_error
from luludb.errors import (
    PASSING_CODES,
    Busy,
    LuludbError,
    OutOfOrder,
    Overloaded,
    SequenceReused,
    StaleConnection,
    UnknownClient,
    UnknownOp,
)
from luludb.limits import (
    BATCH_COMMANDS_MAX,
    HOUSEKEEPING_S,
    WINDOW_COMMANDS_MAX,
    WINDOW_REPLY_BYTES_MAX,
)
from luludb.model import ERROR, OK, PROTOCOL, Outcome
from luludb.tables import schema
from luludb.tables.changes import ChangeRow
from luludb.wire import decode_durability, encode_body

_log = logging.getLogger(__name__)
_EMPTY = encode_body({})


class Turn(NamedTuple):
    """What one turn gives back, to be sent in this order.

    Attributes:
        replies: `(envelope, frame)` each, in the order in which the requests came.
        batches: the changes of each transaction that was committed, oldest first.
    """

    replies: list[tuple[Envelope, bytes]]
    batches: list[list[ChangeRow]]


class Writer:
    """Answers requests, each whole or not at all.

    Args:
        commit: the transaction that commands go into.
        figures: counters that this writer keeps.
        boot_id: the random name of this run of the daemon.
        durability: the daemon's own level, as hello tells it.
        status: makes the body of a status reply.
    """

    def __init__(
        self,
        commit: GroupCommit,
        figures: Figures,
        *,
        boot_id: str,
        durability: str,
        status: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._commit = commit
        self._figures = figures
        self._boot_id = boot_id
        self._durability = durability
        self._status = status
        self._batches: list[list[ChangeRow]] = []

    def turn(
        self, frames: Iterable[tuple[Envelope, bytes]], refusal: LuludbError | None = None
    ) -> Turn:
        """Answer `frames`, in order. What is acknowledged is committed when this returns.

        Args:
            frames: taken until they end, or hold enough commands for one batch.
            refusal: a passing refusal for every new command, instead of applying it.

        Raises:
            StorageFailed: the disk failed. No reply may be sent, and the daemon has to stop.
        """
        self._batches = []
        exchanges: list[Exchange] = []
        items: list[Item] = []
        for envelope, frame in frames:
            exchange = Exchange(envelope, frame)
            exchanges.append(exchange)
            items += exchange.items
            if len(items) >= BATCH_COMMANDS_MAX:
                break
        if items:
            self._run(items, refusal)
        replies = []
        for exchange in exchanges:
            replies.append((exchange.envelope, exchange.reply()))
            exchange.items.clear()  # they point back at it, and nothing collects such a circle
        return Turn(replies, self._batches)

    def _run(self, items: list[Item], refusal: LuludbError | None) -> None:
        try:
            self._attempt(items, refusal)
        except BatchLost as lost:
            # Refusing writes at the most a ledger row, so it is lost for another reason or never.
            assert refusal is None or lost.refusal.code != refusal.code, "a refusal was lost"
            if len(items) == 1 or isinstance(lost.refusal, Busy):
                self._run(items, lost.refusal)
            else:
                for item in items:
                    self._run([item], refusal)

    def _attempt(self, items: list[Item], refusal: LuludbError | None) -> None:
        full = False
        for item in items:
            if item.exchange.durability == "full":
                full = True
            if item.outcome is not None:
                item.exchange.answer(item, None)
        self._commit.durability = "full" if full else self._durability
        try:
            for item in items:
                outcome = self._answer(item, refusal)
                if item.exchange.is_pipeline:
                    item.exchange.answer(item, outcome)
                else:
                    item.outcome = outcome
            changes = self._commit.commit(len(items))
        except BatchLost:
            self._commit.undo()
            raise
        except apsw.Error as error:
            self._commit.undo()
            raise storage_error(error) from error
        except Exception as error:
            # The border: a bug must cost its own command and nobody else's. With one command in
            # the batch it becomes that command's reply, `internal`.
            self._commit.undo()
            _log.exception("a batch of %d commands failed", len(items))
            raise BatchLost(LuludbError(f"the daemon failed: {type(error).__name__}")) from error
        if changes:
            self._batches.append(changes)
        self._count(items)

    def _count(self, items: list[Item]) -> None:
        met = self._commit.durability
        for item in items:
            item.exchange.met = met
            if not item.is_control:
                self._figures.commands_total += 1
                if item.outcome is not None and item.outcome.status == ERROR:
                    self._figures.commands_refused_total += 1

    def _answer(self, item: Item, refusal: LuludbError | None) -> Outcome:
        try:
            if item.is_control:
                return self._control(item, refusal)
            return self._command(item, refusal)
        except LuludbError as error:
            return Outcome(ERROR, encode_body(error.body()))

    def _control(self, item: Item, refusal: LuludbError | None) -> Outcome:
        if item.op not in CONTROL_OPS:
            raise UnknownOp(
                f"op is {item.op[:80]!r}; control requests, which carry seq 0, are"
                f" {', '.join(sorted(CONTROL_OPS))}"
            )
        check_no_args(item.op, item.args)
        match item.op:
            case "ping":
                return Outcome(OK, _EMPTY)
            case "status":
                return Outcome(OK, encode_body(self._status()))
        return Outcome(OK, encode_body(self._hello(item, refusal)))

    def _hello(self, item: Item, refusal: LuludbError | None) -> dict[str, Any]:
        commit = self._commit
        client = commit.clients.find(item.client_id)
        registered = client is None
        if client is None:
            self._begin(refusal)
            client = commit.clients.register(item.client_id, commit.running_s())
        elif refusal is None and commit.running_s() - client.used_s >= HOUSEKEEPING_S:
            self._begin(refusal)
            commit.clients.touch(client, commit.running_s())
        client.acknowledge(item.acked)
        client.connection = item.exchange.connection
        return {
            "registered": registered,
            "version": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "boot_id": self._boot_id,
            "database_id": commit.database_id,
            "schema_version": schema.SCHEMA_VERSION,
            "durability": self._durability,
            "last_seq": client.last_seq,
            "last_rev": commit.rev,
        }

    def _command(self, item: Item, refusal: LuludbError | None) -> Outcome:
        client = self._commit.clients.find(item.client_id)
        if client is None:
            raise UnknownClient("this client_id is not registered; say hello first")
        client.acknowledge(item.acked)
        if item.seq <= client.last_seq:
            return self._repeat(client, item)
        if item.seq > client.last_seq + 1:
            raise OutOfOrder(
                f"seq is {item.seq}; the next one is {client.last_seq + 1}",
                expected=client.last_seq + 1,
            )
        if client.connection != item.exchange.envelope[0]:
            raise StaleConnection("this client_id did not say hello last on this connection")
        if item.seq - client.acked > WINDOW_COMMANDS_MAX:
            raise Overloaded(
                f"seq is {item.seq - client.acked} above acked; the most is {WINDOW_COMMANDS_MAX}"
            )
        if not client.may_keep(WINDOW_REPLY_BYTES_MAX):
            raise Overloaded(
                f"{client.kept_bytes()} bytes of replies are kept; the most is"
                f" {WINDOW_REPLY_BYTES_MAX}. Acknowledge some"
            )
        outcome = self._apply(item, refusal)
        client.keep(item.seq, item.digest, outcome)
        return outcome

    def _repeat(self, client: ClientState, item: Item) -> Outcome:
        if item.seq <= client.acked:
            raise SequenceReused(f"seq is {item.seq}; up to {client.acked} all are acknowledged")
        digest, outcome = client.kept_reply(self._commit.connection, item.seq)
        if digest != item.digest:
            raise SequenceReused(f"seq {item.seq} was used before, with another op or other args")
        if len(outcome.body) > item.exchange.reply_bytes_left():
            raise Overloaded("the pipeline's reply has no room for this one; ask for it alone")
        self._figures.duplicates_total += 1
        # A pipeline tells one level for all, and a repeat is not committed again.
        if decode_durability(outcome.body) == NORMAL:
            item.exchange.repeats_normal = True
        return outcome

    def _apply(self, item: Item, refusal: LuludbError | None) -> Outcome:
        """The outcome of a command whose turn it is. Done or refused, it consumes its seq."""
        transaction = self._commit.open
        if transaction is None or refusal is not None:
            transaction = self._begin(refusal)
        exchange = item.exchange
        try:
            if refusal is not None:
                raise refusal
            if exchange.options_error is not None:
                raise exchange.options_error
            command = parse_command(item.op, item.args)
            if exchange.is_pipeline:
                return transaction.apply(command, exchange.reply_bytes_left())
            return transaction.apply(command)
        except LuludbError as error:
            body = {**error.body(), "durability": self._commit.durability}
            return Outcome(ERROR, encode_body(body))

    def _begin(self, refusal: LuludbError | None) -> OpenTransaction:
        if refusal is not None and refusal.code in PASSING_CODES:
            raise refusal
        return self._commit.begin()
