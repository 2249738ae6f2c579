"""Import: rows from elsewhere become commands, many under way at once, settled in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from luludb.admin.rows import COLUMNS_OF_MESSAGE, COLUMNS_OF_SESSION, Refusal, Row
from luludb.errors import AlreadyExists, InvalidRequest, LuludbError, NotFound, TooLarge, UnknownOp
from luludb.limits import CLIENT_BYTES_MAX, LINES_SHOWN_MAX, WINDOW_COMMANDS_MAX
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
    """Rows on their way. No more are held than the client's window takes.

    It can be repeated: what is there already is skipped.

    Attributes:
        summary: what became of the rows that are settled; right also after an error.
    """

    def __init__(self, client: Client) -> None:
        self.summary = Summary()
        self._client = client
        self._under_way: deque[_Submitted | _There | Refusal] = deque()
        self._looks_first = False
        self._characters = 0

    def add(self, rows: Iterable[Row | Refusal]) -> None:
        """Add `rows` in order, and return when the last one is settled.

        Raises:
            LuludbError: the import cannot go on, as without a daemon, or on a full disk.
        """
        for row in rows:
            self._send(row)
            while self._is_full() or self._is_first_done():
                self._settle_first()
        while self._under_way:
            self._settle_first()

    def _send(self, row: Row | Refusal) -> None:
        if isinstance(row, Refusal):
            self._under_way.append(row)
        elif self._looks_first and self._is_there(row):
            self._under_way.append(_There(row.line))
        else:
            self._characters += _characters(row)
            self._under_way.append(_Submitted(row, _submit(self._client, row)))

    def _is_there(self, row: Row) -> bool:
        kept = _kept(self._client, row.content)
        # Where rows begin to be missing a look at each would double the work.
        self._looks_first = kept is not None
        return kept is not None and _are_same(row.content, kept)

    def _is_full(self) -> bool:
        return len(self._under_way) >= WINDOW_COMMANDS_MAX or self._characters > CLIENT_BYTES_MAX

    def _is_first_done(self) -> bool:
        if not self._under_way:
            return False
        first = self._under_way[0]
        return not isinstance(first, _Submitted) or first.body.done()

    def _settle_first(self) -> None:
        match self._under_way.popleft():
            case Refusal(line) as refusal:
                self.summary.refused.append(refusal)
            case _There(line):
                self.summary.skipped += 1
            case _Submitted(row, body):
                line = row.line
                self._characters -= _characters(row)
                self._settle(row, body)
        self.summary.line = line

    def _settle(self, row: Row, body: Future[dict[str, Any]]) -> None:
        try:
            body.result()
        except LuludbError as error:
            if error.code not in _REFUSING_CODES:
                raise
            self._judge(row, error)
        else:
            if isinstance(row.content, Session):
                self.summary.sessions_added += 1
            else:
                self.summary.messages_added += 1

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


class _Submitted(NamedTuple):
    row: Row
    body: Future[dict[str, Any]]


def _submit(client: Client, row: Row) -> Future[dict[str, Any]]:
    """The future of the row's command; one that failed already where it cannot be sent."""
    content = row.content
    try:
        if isinstance(content, Session):
            return client.submit("session.create", **_columns(content, COLUMNS_OF_SESSION))
        return client.submit("message.append", **_columns(content, COLUMNS_OF_MESSAGE))
    except LuludbError as error:
        failed: Future[dict[str, Any]] = Future()
        failed.set_exception(error)
        return failed


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


def _characters(row: Row) -> int:
    return len(row.content.content) if isinstance(row.content, Message) else 0
