"""Import: rows from elsewhere become transactions, settled in their order."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from luludb.admin.rows import COLUMNS_OF_MESSAGE, COLUMNS_OF_SESSION, Refusal, Row
from luludb.errors import AlreadyExists, InvalidRequest, LuludbError, NotFound, TooLarge, UnknownOp
from luludb.limits import (
    IMPORT_CHUNK_CHARACTERS_MAX,
    IMPORT_CHUNK_ROWS_MAX,
    LINES_SHOWN_MAX,
)
from luludb.model import Message, Session
from luludb.times import canonical_time

if TYPE_CHECKING:
    from luludb_client import Client

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


# The shortest first: in this order the daemon makes its digest of a transaction.
_COLUMNS_OF_APPEND: Final = tuple(sorted(COLUMNS_OF_MESSAGE, key=len))


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
            "refused": [asdict(refusal) for refusal in self.refused],
        }


class Import:
    """Rows on their way: one transaction of them is with the daemon while the next is read.

    A transaction that is refused is sent again row by row, before anything that comes behind it,
    so each session's messages keep their order. It can be repeated: what is there is skipped.

    Attributes:
        summary: what became of the rows that are settled; right also after an error.
    """

    def __init__(self, client: Client) -> None:
        self.summary = Summary()
        self._client = client
        self._next = _Chunk()
        self._sent = _Chunk()
        self._body: Future[dict[str, Any]] | None = None  # of the transaction that was sent
        self._looks_first = False

    def add(self, rows: Iterable[Row | Refusal]) -> None:
        """Add `rows` in order, and return when the last one is settled.

        Raises:
            LuludbError: the import cannot go on, as without a daemon, or on a full disk.
        """
        for row in rows:
            self._take(row)
            if self._next.is_full():
                self._settle_sent()
                self._send_next()
        self._settle_sent()
        self._send_next()
        self._settle_sent()

    def _take(self, row: Row | Refusal) -> None:
        if isinstance(row, Row) and self._looks_first and self._is_there(row):
            self._next.entries.append(_There(row.line))
        else:
            self._next.add(row)

    def _is_there(self, row: Row) -> bool:
        kept = _kept(self._client, row.content)
        # Where rows begin to be missing a look at each would double the work.
        self._looks_first = kept is not None
        return kept is not None and _are_same(row.content, kept)

    def _send_next(self) -> None:
        self._sent, self._next = self._next, _Chunk()
        commands = [_command(row) for row in self._sent.rows()]
        if commands:
            self._body = _submit(self._client, "transaction", {"commands": commands})

    def _settle_sent(self) -> None:
        body, self._body = self._body, None
        chunk, self._sent = self._sent, _Chunk()
        is_added = body is not None and _is_done(body)
        alone = {} if is_added else self._send_alone(chunk)
        for entry in chunk.entries:
            match entry:
                case Refusal():
                    self.summary.refused.append(entry)
                case _There():
                    self.summary.skipped += 1
                case Row() if is_added:
                    self._count(entry)
                case Row():
                    self._settle(entry, alone[entry.line])
            self.summary.line = entry.line

    def _send_alone(self, chunk: _Chunk) -> dict[int, Future[dict[str, Any]]]:
        """Each row of a chunk as a command of its own, in order; the futures by line."""
        return {row.line: _submit(self._client, *_command(row)) for row in chunk.rows()}

    def _count(self, row: Row) -> None:
        if isinstance(row.content, Session):
            self.summary.sessions_added += 1
        else:
            self.summary.messages_added += 1

    def _settle(self, row: Row, body: Future[dict[str, Any]]) -> None:
        try:
            body.result()
        except LuludbError as error:
            if error.code not in _REFUSING_CODES:
                raise
            self._judge(row, error)
        else:
            self._count(row)

    def _judge(self, row: Row, error: LuludbError) -> None:
        """Tell a row that is there already from a conflict and from one that is refused."""
        kept = _kept(self._client, row.content)
        if kept is not None and _are_same(row.content, kept):
            self.summary.skipped += 1
            # An import that is repeated meets what it added: no need to send all of it again.
            self._looks_first = True
        elif kept is not None and isinstance(error, AlreadyExists):
            self.summary.conflicts += 1
            if len(self.summary.conflict_lines) < LINES_SHOWN_MAX:
                self.summary.conflict_lines.append(row.line)
        else:
            self.summary.refused.append(Refusal(row.line, error.code, error.message))


class _There(NamedTuple):
    """The line of a row that was found there, and the same, before it was sent."""

    line: int


class _Chunk:
    """Lines in their order, those of one transaction: rows to add, and what else was found."""

    def __init__(self) -> None:
        self.entries: list[Row | _There | Refusal] = []
        self._characters = 0

    def add(self, entry: Row | Refusal) -> None:
        self.entries.append(entry)
        if isinstance(entry, Row) and isinstance(entry.content, Message):
            self._characters += len(entry.content.content)

    def rows(self) -> list[Row]:
        return [entry for entry in self.entries if isinstance(entry, Row)]

    def is_full(self) -> bool:
        return (
            len(self.entries) >= IMPORT_CHUNK_ROWS_MAX
            or self._characters >= IMPORT_CHUNK_CHARACTERS_MAX
        )


def _command(row: Row) -> tuple[str, dict[str, Any]]:
    content = row.content
    if isinstance(content, Session):
        return "session.create", _columns(content, COLUMNS_OF_SESSION)
    return "message.append", _columns(content, _COLUMNS_OF_APPEND)


def _submit(client: Client, op: str, args: dict[str, Any]) -> Future[dict[str, Any]]:
    """The future of a command; one that failed already where it cannot be sent."""
    try:
        return client.submit(op, **args)
    except LuludbError as error:
        failed: Future[dict[str, Any]] = Future()
        failed.set_exception(error)
        return failed


def _is_done(body: Future[dict[str, Any]]) -> bool:
    """Whether a transaction was applied; not where one of its rows, or its size, was refused."""
    try:
        body.result()
    except LuludbError as error:
        if error.code not in _REFUSING_CODES:
            raise
        return False
    return True


def _columns(content: Session | Message, columns: tuple[str, ...]) -> dict[str, str]:
    # dataclasses.asdict does the same in ten times the time.
    return {column: getattr(content, column) for column in columns}


def _kept(client: Client, content: Session | Message) -> Session | Message | None:
    """The row of the same id, or None; no row has an id that cannot be asked for."""
    try:
        if isinstance(content, Session):
            return client.get_session(content.id)
        return client.get_message(content.id)
    except InvalidRequest:
        return None


def _are_same(given: Session | Message, kept: Session | Message) -> bool:
    return given == kept or _with_canonical_times(given) == _with_canonical_times(kept)


def _with_canonical_times(content: Session | Message) -> Session | Message:
    match content:
        case Session(created_at=created_at, updated_at=updated_at):
            return replace(
                content, created_at=_canonical(created_at), updated_at=_canonical(updated_at)
            )
        case Message(timestamp=timestamp):
            return replace(content, timestamp=_canonical(timestamp))


def _canonical(time: str) -> str:
    try:
        return canonical_time(time)
    except InvalidRequest:  # a row from before luludb keeps the time it has
        return time
