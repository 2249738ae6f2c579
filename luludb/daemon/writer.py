"""One turn of the daemon: raw requests in, replies and changes out. No socket.

All that a turn was given goes into one transaction. What becomes of a command is the same as if
it had come alone: where the transaction is lost, by a full disk or a bug, its commands run again
one at a time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import apsw

from luludb import __version__
from luludb.commands import CONTROL_OPS, NORMAL, check_no_args, parse_command, parse_compact
from luludb.daemon.clients import ClientState
from luludb.daemon.compaction import Compaction, give_back_pages
from luludb.daemon.exchange import Appends, Envelope, Exchange, Item, Part
from luludb.daemon.figures import Figures
from luludb.daemon.group_commit import GroupCommit
from luludb.daemon.seldom import SeldomLog, described
from luludb.daemon.transaction import BatchLost, OpenTransaction, storage_error
from luludb.errors import (
    PASSING_CODES,
    Busy,
    LuludbError,
    OutOfOrder,
    Overloaded,
    SequenceReused,
    StaleConnection,
    StorageFailed,
    UnknownClient,
    UnknownOp,
)
from luludb.limits import (
    BATCH_COMMANDS_MAX,
    COMPACT_PAGES_MAX,
    DRAIN_FRAMES_MAX,
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
        compaction: what the last `compact` of the turn did, None where there was none.
        took_all: whether the frames came to their end.
    """

    replies: list[tuple[Envelope, bytes]]
    batches: list[list[ChangeRow]]
    compaction: Compaction | None
    took_all: bool


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
        self._seldom = SeldomLog(_log)

    def turn(
        self,
        frames: Iterable[tuple[Envelope, bytes]],
        refusal: LuludbError | None = None,
        *,
        clients_max: int = DRAIN_FRAMES_MAX,
    ) -> Turn:
        """Answer `frames`, in order. What is acknowledged is committed when this returns.

        Args:
            frames: taken until they end, or hold enough commands for one batch.
            refusal: a passing refusal for every new command, instead of applying it.
            clients_max: nor are more taken once so many clients wait for their answers.

        Raises:
            StorageFailed: the disk failed. No reply may be sent, and the daemon has to stop.
        """
        self._batches = []
        exchanges: list[Exchange] = []
        commands = clients = 0
        took_all = False
        for envelope, frame in frames:
            exchange = Exchange(envelope, frame)
            exchanges.append(exchange)
            commands += exchange.commands
            if not exchange.parts:
                self._seldom.refused(exchange.refused_as)
            clients += exchange.is_awaited
            if commands >= BATCH_COMMANDS_MAX or clients >= clients_max:
                break
        else:
            took_all = True
        parts = [
            part for exchange in exchanges if not exchange.is_compaction for part in exchange.parts
        ]
        if parts:
            self._run(parts, refusal)
        compactions = [exchange for exchange in exchanges if exchange.is_compaction]
        compaction = self._compact_all(compactions, refusal) if compactions else None
        replies = []
        for exchange in exchanges:
            replies.append((exchange.envelope, exchange.reply()))
            exchange.parts.clear()  # they point back at it, and nothing collects such a circle
        return Turn(replies, self._batches, compaction, took_all)

    def _run(self, parts: Sequence[Part], refusal: LuludbError | None) -> None:
        try:
            self._attempt(parts, refusal)
        except BatchLost as lost:
            # Refusing writes at the most a ledger row, so it is lost for another reason or never.
            assert refusal is None or lost.refusal.code != refusal.code, "a refusal was lost"
            items = [item for part in parts for item in part.items()]
            for item in items:
                item.exchange.answer(item, None)
            if len(items) == 1 or isinstance(lost.refusal, Busy):
                self._run(items, lost.refusal)
            else:
                for item in items:
                    self._run([item], refusal)

    def _attempt(self, parts: Sequence[Part], refusal: LuludbError | None) -> None:
        full = "full" in {part.exchange.durability for part in parts}
        self._commit.durability = durability = "full" if full else self._durability
        commands = refused = 0
        try:
            for part in parts:
                if type(part) is Appends and self._apply_at_once(part, refusal):
                    part.exchange.met = durability
                    commands += len(part.bodies)
                    continue
                for item in (part,) if type(part) is Item else part.items():
                    outcome = self._answer(item, refusal)
                    if item.exchange.is_pipeline:
                        item.exchange.met = durability
                        item.exchange.answer(item, outcome)
                    else:
                        item.outcome = outcome
                    if item.digest:
                        commands += 1
                        refused += outcome.status
            changes = self._commit.commit(commands)
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
            failed = f"a batch of {len(parts)} requests failed: {described(error)}"
            self._seldom.log(logging.ERROR, "failed", failed)
            raise BatchLost(LuludbError(f"the daemon failed: {type(error).__name__}")) from error
        if changes:
            self._batches.append(changes)
        self._figures.commands_total += commands
        self._figures.commands_refused_total += refused

    def _answer(self, item: Item, refusal: LuludbError | None) -> Outcome:
        try:
            if item.digest:
                return self._command(item, refusal)
            return self._control(item, refusal)
        except LuludbError as error:
            self._seldom.refused(error.code, error.message)
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

    def _compact_all(
        self, exchanges: Sequence[Exchange], refusal: LuludbError | None
    ) -> Compaction | None:
        """Answer every `compact`, behind the batch. Returns what the last one did, if anything.

        One of them gives pages back and the others hear how many are left, so that a turn is no
        longer for several.
        """
        compaction = None
        pages_max = COMPACT_PAGES_MAX
        for exchange in exchanges:
            item = exchange.parts[0]
            assert type(item) is Item, "a compaction is one request"
            try:
                if refusal is not None:
                    raise refusal
                pages = min(parse_compact(item.args), pages_max)
                compaction = give_back_pages(self._commit, pages)
                pages_max = 0 if pages else pages_max
                item.outcome = Outcome(OK, encode_body(compaction.body()))
            except StorageFailed:
                raise
            except LuludbError as error:
                item.outcome = Outcome(ERROR, encode_body(error.body()))
        return compaction

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

    def _apply_at_once(self, appends: Appends, refusal: LuludbError | None) -> bool:
        """Apply a pipeline's commands together. Returns False where one has to look at each."""
        client = self._commit.clients.find(appends.client_id)
        if refusal is not None or client is None or appends.exchange.options_error is not None:
            return False
        client.acknowledge(appends.acked)
        last_seq = client.last_seq + len(appends.args)
        if (
            appends.seq != client.last_seq + 1
            or client.connection != appends.exchange.connection
            or last_seq - client.acked > WINDOW_COMMANDS_MAX
            or not client.may_keep(WINDOW_REPLY_BYTES_MAX // 2)  # and no body has even 2 KB
        ):
            return False
        transaction = self._commit.open or self._commit.begin()
        bodies = transaction.apply_appends(appends.columns)
        if bodies is None:
            return False
        client.keep_applied(appends.digests(), bodies)
        appends.bodies = bodies
        return True

    def _command(self, item: Item, refusal: LuludbError | None) -> Outcome:
        client = self._commit.clients.find(item.client_id)
        if client is None:
            raise UnknownClient("this client_id is not registered; say hello first")
        if item.acked > client.acked:
            client.acknowledge(item.acked)
        exchange = item.exchange
        seq = item.seq
        if seq != client.last_seq + 1:
            if seq <= client.last_seq:
                return self._repeat(client, item)
            raise OutOfOrder(
                f"seq is {seq}; the next one is {client.last_seq + 1}",
                expected=client.last_seq + 1,
            )
        if client.connection != exchange.envelope[0]:
            raise StaleConnection("this client_id did not say hello last on this connection")
        if seq - client.acked > WINDOW_COMMANDS_MAX:
            raise Overloaded(
                f"seq is {seq - client.acked} above acked; the most is {WINDOW_COMMANDS_MAX}"
            )
        if not client.may_keep(WINDOW_REPLY_BYTES_MAX):
            raise Overloaded(
                f"{client.kept_bytes()} bytes of replies are kept; the most is"
                f" {WINDOW_REPLY_BYTES_MAX}. Acknowledge some"
            )
        outcome = self._apply(item, refusal)
        client.keep(seq, item.digest, outcome)
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
            if error.code not in PASSING_CODES:  # those go on to `_answer`
                self._seldom.refused(error.code)
            body = {**error.body(), "durability": self._commit.durability}
            return Outcome(ERROR, encode_body(body))

    def _begin(self, refusal: LuludbError | None) -> OpenTransaction:
        if refusal is not None and refusal.code in PASSING_CODES:
            raise refusal
        return self._commit.begin()
