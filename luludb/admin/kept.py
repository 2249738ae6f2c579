"""What of the rows to import is in the database already."""

from __future__ import annotations

from collections.abc import Sequence

from luludb.admin.rows import APPEND, CREATE, Row
from luludb.errors import InvalidRequest
from luludb.model import Message, Session
from luludb.times import canonical_time
from luludb_client.replica import Replica

_TIMES = frozenset({"created_at", "updated_at", "timestamp"})


def kept_of(replica: Replica, row: Row) -> Session | Message | None:
    """What has the id of `row`, or None."""
    kept = _kept_by_id(replica, [row])
    return kept.get((row.op, row.args["id"]))


def same_lines(replica: Replica, rows: Sequence[Row]) -> set[int]:
    """The lines of those `rows` that are there already and are the same."""
    kept = _kept_by_id(replica, rows)
    return {
        row.line
        for row in rows
        if (found := kept.get((row.op, row.args["id"]))) is not None and is_same(row, found)
    }


def is_same(row: Row, kept: Session | Message) -> bool:
    """Whether `kept` has the columns of `row`; a moment may be written in another form."""
    # dataclasses.asdict takes ten times as long.
    columns = {column: getattr(kept, column) for column in row.args}
    return row.args == columns or _with_canonical_times(row.args) == _with_canonical_times(columns)


def _kept_by_id(replica: Replica, rows: Sequence[Row]) -> dict[tuple[str, str], Session | Message]:
    kept: dict[tuple[str, str], Session | Message] = {}
    for op, read in ((CREATE, replica.sessions_of), (APPEND, replica.messages_of)):
        ids = [row.args["id"] for row in rows if row.op == op and _is_sendable(row.args["id"])]
        for found in read(ids):
            kept[op, found.id] = found
    return kept


def _is_sendable(id: str) -> bool:
    """Whether SQLite can be asked for it; JSON may hold half of a surrogate pair."""
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_canonical_times(columns: dict[str, str]) -> dict[str, str]:
    return {
        column: _canonical(value) if column in _TIMES else value
        for column, value in columns.items()
    }


def _canonical(time: str) -> str:
    try:
        return canonical_time(time)
    except InvalidRequest:  # a row from before luludb keeps the time it has
        return time
