"""What the daemon remembers of each client while it runs. The truth is the ledger's tables.

A `ClientState` moves inside a batch and either keeps what it became, after COMMIT, or goes back
to what it was. Kept replies are not held in memory: they are read from the ledger when asked for.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from luludb.limits import CLIENTS_IN_MEMORY_MAX
from luludb.model import OK, Outcome, new_tuple
from luludb.tables import Connection, ledger
from luludb.wire import KeptReply, decode_kept, encode_kept


class _Chunk(NamedTuple):
    """A row of kept replies in the ledger."""

    slot: int
    last_seq: int
    reply_bytes: int


class ClientState:
    """One client_id: the last seq applied, the seq up to which it has its replies, its connection.

    Invariant: `acked <= last_seq`, and `pending` holds the replies of the last
    `len(pending)` seqs, which are not committed yet.
    """

    __slots__ = (
        "_chunks",
        "_committed",
        "_kept_bytes",
        "_pending_bytes",
        "_reused",
        "_slot",
        "acked",
        "connection",
        "last_seq",
        "number",
        "pending",
        "used_s",
    )

    def __init__(self, number: int, used_s: int, chunks: list[ledger.Chunk]) -> None:
        self.number = number
        self.used_s = max([used_s, *(chunk.used_s for chunk in chunks)])
        self.last_seq = max((chunk.last_seq for chunk in chunks), default=0)
        self.acked = max((chunk.acked for chunk in chunks), default=0)
        self.connection: bytes | None = None
        self.pending: list[KeptReply] = []
        self._pending_bytes = 0
        self._chunks = deque(
            _Chunk(chunk.slot, chunk.last_seq, chunk.reply_bytes) for chunk in chunks
        )
        self._kept_bytes = sum(chunk.reply_bytes for chunk in chunks)
        self._slot = 0
        self._reused = -1  # the place of the chunk whose slot it was, or -1
        self._committed: tuple[int, int, bytes | None] = (self.last_seq, self.acked, None)

    def acknowledge(self, acked: int) -> None:
        """Note that the client has every reply up to `acked`. It never goes back."""
        if acked > self.acked:
            self.acked = acked if acked <= self.last_seq else self.last_seq

    def kept_bytes(self) -> int:
        """How many bytes the replies take that the client may still ask for."""
        unacknowledged = sum(
            chunk.reply_bytes for chunk in self._chunks if chunk.last_seq > self.acked
        )
        return unacknowledged + self._pending_bytes

    def may_keep(self, bytes_max: int) -> bool:
        """Whether less than `bytes_max` are kept; quick where that is plain."""
        return self._kept_bytes + self._pending_bytes < bytes_max or self.kept_bytes() < bytes_max

    def keep(self, seq: int, digest: bytes, outcome: Outcome) -> None:
        """Let `seq` be the last one, with this reply."""
        self.last_seq = seq
        status, body = outcome
        self.pending.append((seq, digest, status, body))
        self._pending_bytes += len(body)

    def keep_applied(self, digests: Sequence[bytes], bodies: Sequence[bytes]) -> None:
        """Let the next seqs be the last ones, with these replies, none of which is a refusal."""
        seqs = range(self.last_seq + 1, self.last_seq + 1 + len(bodies))
        self.last_seq += len(bodies)
        self.pending += zip(seqs, digests, repeat(OK), bodies)
        self._pending_bytes += sum(map(len, bodies))

    def kept_reply(self, connection: Connection, seq: int) -> tuple[bytes, Outcome]:
        """Digest and reply of a seq above `acked` and not above `last_seq`."""
        if self.pending and seq >= self.pending[0][0]:
            _, digest, status, body = self.pending[seq - self.pending[0][0]]
            return digest, Outcome(status, body)
        slot = next(chunk.slot for chunk in self._chunks if chunk.last_seq >= seq)
        kept = decode_kept(ledger.read_replies(connection, self.number, slot))
        return next(
            (digest, Outcome(status, body))
            for kept_seq, digest, status, body in kept
            if kept_seq == seq
        )

    def chunk(self, used_s: int) -> tuple[int, int, int, int, bytes]:
        """The row of the ledger that keeps the pending replies and the state."""
        self.used_s = used_s
        chunks = self._chunks
        # The newest of those that are free: few pages are written again and again, where going
        # round through all slots would touch each.
        place = len(chunks) - 1
        while place >= 0 and chunks[place].last_seq > self.acked:
            place -= 1
        self._reused = place
        self._slot = slot = chunks[place].slot if place >= 0 else len(chunks)
        id = self.number * ledger.SLOTS + slot
        return id, self.last_seq, self.acked, used_s, encode_kept(self.pending)

    def committed(self) -> None:
        """The batch is kept: what is pending is now a chunk."""
        self._committed = (self.last_seq, self.acked, self.connection)
        if not self.pending:
            return
        if self._reused >= 0:
            self._kept_bytes -= self._chunks[self._reused].reply_bytes
            del self._chunks[self._reused]
        self._chunks.append(new_tuple(_Chunk, (self._slot, self.last_seq, self._pending_bytes)))
        self._kept_bytes += self._pending_bytes
        self.pending = []
        self._pending_bytes = 0

    def undone(self) -> None:
        """The batch is not kept: go back to what was committed."""
        self.last_seq, self.acked, self.connection = self._committed
        self.pending = []
        self._pending_bytes = 0


class Clients:
    """The clients in memory, the most recently used last; others are read from the ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._states: OrderedDict[bytes, ClientState] = OrderedDict()
        self._new: set[bytes] = set()
        self._touched: dict[bytes, ClientState] = {}
        self.registered = ledger.count_clients(connection)

    def find(self, client_id: bytes) -> ClientState | None:
        """The state of a registered client, or None. It counts as touched by this batch."""
        state = self._touched.get(client_id)
        if state is not None:
            return state
        state = self._states.get(client_id)
        if state is None:
            found = ledger.find_client(self._connection, client_id)
            if found is None:
                return None
            number, used_s = found
            state = ClientState(number, used_s, ledger.read_chunks(self._connection, number))
            self._states[client_id] = state
        else:
            self._states.move_to_end(client_id)
        self._touched[client_id] = state
        return state

    def register(self, client_id: bytes, used_s: int) -> ClientState:
        """Add a client that `find` did not find."""
        state = ClientState(ledger.add_client(self._connection, client_id, used_s), used_s, [])
        self._states[client_id] = self._touched[client_id] = state
        self._new.add(client_id)
        return state

    def touch(self, state: ClientState, used_s: int) -> None:
        """Note that a client was there, in a transaction that the caller holds."""
        ledger.touch_client(self._connection, state.number, used_s)
        state.used_s = used_s

    def write(self, used_s: int) -> None:
        """Write what the touched clients have pending."""
        rows = [state.chunk(used_s) for state in self._touched.values() if state.pending]
        ledger.put_chunks(self._connection, rows)

    def committed(self) -> None:
        """The batch is kept."""
        for state in self._touched.values():
            state.committed()
        self._touched.clear()
        self.registered += len(self._new)
        self._new.clear()
        while len(self._states) > CLIENTS_IN_MEMORY_MAX:
            # Its owner will be told stale_connection, and says hello again.
            self._states.popitem(last=False)

    def undone(self) -> None:
        """The batch is not kept."""
        for client_id, state in self._touched.items():
            state.undone()
            if client_id in self._new:
                del self._states[client_id]
        self._touched.clear()
        self._new.clear()

    def forget(self, client_id: bytes, number: int) -> None:
        """Delete a client, in a transaction that the caller holds."""
        ledger.forget_client(self._connection, number)
        self._states.pop(client_id, None)
        self.registered -= 1
