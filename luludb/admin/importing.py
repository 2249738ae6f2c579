"""Import: rows from elsewhere become transactions, settled in their order."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from luludb.admin.chunks import Chunk, chunks_of
from luludb.admin.kept import is_same, kept_of, same_lines
from luludb.admin.rows import CREATE, Refusal, Row
from luludb.errors import AlreadyExists, InvalidRequest, LuludbError, NotFound, TooLarge, UnknownOp
from luludb.home import Home
from luludb.limits import LINES_SHOWN_MAX
from luludb_client.line import Packed
from luludb_client.link import Link
from luludb_client.operations import check_timeout, pack
from luludb_client.replica import Replica

# An answer that refuses this row, now and whenever it is sent again. Everything else, as a
# daemon that is gone or a full disk, ends the import.
_REFUSING_CODES: Final = frozenset(
    {
        InvalidRequest.code,
        UnknownOp.code,
        NotFound.code,
        AlreadyExists.code,
        TooLarge.code,
        LuludbError.code,
    }
)


@dataclass(slots=True)
class Summary:
    """What became of the rows so far.

    Attributes:
        skipped: rows that were there already and are the same.
        conflicts: rows whose id is there with other columns; they are left as they are.
        refused: lines that hold no row, or one that was refused.
        conflict_lines: where the first conflicts are.
        line: the last line that is settled.
    """

    sessions_added: int = 0
    messages_added: int = 0
    skipped: int = 0
    conflicts: int = 0
    refused: list[Refusal] = field(default_factory=list)
    conflict_lines: list[int] = field(default_factory=list)
    line: int = 0

    def as_json(self) -> dict[str, Any]:
        """The counts, and each refused line as `{line, code, message}`."""
        return {
            "sessions_added": self.sessions_added,
            "messages_added": self.messages_added,
            "skipped": self.skipped,
            "conflicts": self.conflicts,
            "refused": [refusal._asdict() for refusal in self.refused],
        }


@contextmanager
def open_import(home: Home, timeout_s: float) -> Iterator[Import]:
    """An import into `home`; no answer of its daemon is waited for longer than `timeout_s`."""
    timeout_s = check_timeout(timeout_s)
    link = Link(home)
    replica = Replica(home, timeout_s)
    try:
        yield Import(link, replica, timeout_s)
    finally:
        link.close(timeout_s)
        replica.close()


class Import:
    """Rows on their way: one transaction of them is with the daemon while the next is made ready.

    A transaction that is refused is sent again row by row, before anything that comes behind it,
    so each session's messages keep their order. It can be repeated: what is there is skipped.

    Attributes:
        summary: what became of the rows that are settled; right also after an error.
    """

    def __init__(self, link: Link, replica: Replica, timeout_s: float) -> None:
        self.summary = Summary()
        self._link = link
        self._replica = replica
        self._timeout_s = timeout_s
        self._sent: Chunk | None = None
        self._body: Future[dict[str, Any]] | None = None  # of the transaction that was sent
        self._looks_first = False

    def add(self, rows: Iterable[Row | Refusal]) -> None:
        """Add `rows` in order, and return when the last one is settled.

        Raises:
            LuludbError: the import cannot go on, as without a daemon, or on a full disk.
        """
        for chunk in chunks_of(rows):
            # Ready before the wait, so that the daemon has no longer to wait than a round trip.
            has_looked = self._make_ready(chunk)
            self._settle_sent()
            if self._looks_first and not has_looked:
                self._make_ready(chunk)
            self._send(chunk)
        self._settle_sent()

    def _make_ready(self, chunk: Chunk) -> bool:
        """Pack what is to be sent of a chunk. Returns whether what is there was left out."""
        looks_first = self._looks_first
        if looks_first:
            same = same_lines(self._replica, chunk.rows)
            chunk.leave_out(same)
            self._looks_first = bool(same)
        chunk.pack()
        return looks_first

    def _send(self, chunk: Chunk) -> None:
        self._sent = chunk
        if chunk.content is not None:
            self._body = self._submit((chunk.content, None, False, len(chunk.rows)))

    def _settle_sent(self) -> None:
        chunk, self._sent = self._sent, None
        body, self._body = self._body, None
        if chunk is None:
            return
        if body is not None and _is_done(body):
            self._count(chunk)
        else:
            self._settle_alone(chunk)

    def _count(self, chunk: Chunk) -> None:
        """Count a chunk whose rows were all added."""
        sessions = chunk.count_sessions()
        refused = [entry for entry in chunk.entries if isinstance(entry, Refusal)]
        self.summary.sessions_added += sessions
        self.summary.messages_added += len(chunk.rows) - sessions
        self.summary.skipped += len(chunk.entries) - len(chunk.rows) - len(refused)
        self.summary.refused += refused
        self.summary.line = chunk.entries[-1].line

    def _settle_alone(self, chunk: Chunk) -> None:
        """Send each row of a chunk as a command of its own, in order."""
        bodies = {row.line: self._submit_alone(row) for row in chunk.rows}
        for entry in chunk.entries:
            if isinstance(entry, Refusal):
                self.summary.refused.append(entry)
            elif entry.line in bodies:
                self._settle(entry, bodies[entry.line])
            else:
                self.summary.skipped += 1
            self.summary.line = entry.line

    def _submit_alone(self, row: Row) -> Future[dict[str, Any]]:
        """The future of a row's own command; one that failed already where it cannot be sent."""
        try:
            return self._submit(pack((row.op, row.args, lambda body, _: body), None))
        except LuludbError as error:
            failed: Future[dict[str, Any]] = Future()
            failed.set_exception(error)
            return failed

    def _submit(self, packed: Packed) -> Future[dict[str, Any]]:
        return self._link.submit(packed, time.monotonic(), self._timeout_s)

    def _settle(self, row: Row, body: Future[dict[str, Any]]) -> None:
        try:
            body.result()
        except LuludbError as error:
            if error.code not in _REFUSING_CODES:
                raise
            self._judge(row, error)
        else:
            if row.op == CREATE:
                self.summary.sessions_added += 1
            else:
                self.summary.messages_added += 1

    def _judge(self, row: Row, error: LuludbError) -> None:
        """Tell a row that is there already from a conflict and from one that is refused."""
        kept = kept_of(self._replica, row)
        if kept is not None and is_same(row, kept):
            self.summary.skipped += 1
            # An import that is repeated meets what it added: no need to send all of it again.
            self._looks_first = True
        elif kept is not None and isinstance(error, AlreadyExists):
            self.summary.conflicts += 1
            if len(self.summary.conflict_lines) < LINES_SHOWN_MAX:
                self.summary.conflict_lines.append(row.line)
        else:
            self.summary.refused.append(Refusal(row.line, error.code, error.message))


def _is_done(body: Future[dict[str, Any]]) -> bool:
    """Whether a transaction was applied; not where one of its rows was refused."""
    try:
        body.result()
    except LuludbError as error:
        if error.code not in _REFUSING_CODES:
            raise
        return False
    return True
