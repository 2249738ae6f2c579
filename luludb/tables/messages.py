"""`messages`: its SQL. A row is `(id, session_id, role, content, timestamp)`, rowid the order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from luludb.model import Message, new_message
from luludb.tables import Connection

_COLUMNS = "id, session_id, role, content, timestamp"
_BYTES = "length(CAST(content AS BLOB))"  # of a text, length counts characters
_BY_SESSION = "INDEXED BY idx_messages_session_id"
# OR ABORT: an adopted table may say otherwise of an id that is taken, or of other columns.
_INSERT = f"INSERT OR ABORT INTO messages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
_UPDATE = (
    "UPDATE OR ABORT messages SET content = ? WHERE id = ? RETURNING session_id, role, timestamp"
)
_DELETE = "DELETE FROM messages WHERE id = ? RETURNING session_id"


def insert(
    connection: Connection, id: str, session_id: str, role: str, content: str, timestamp: str, /
) -> None:
    """Add a message at the end of its session.

    An id that is taken, or a session that does not exist, is the connection's constraint error.
    """
    connection.execute(_INSERT, (id, session_id, role, content, timestamp))


def insert_many(connection: Any, rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    """Add messages, in this order. Where one is refused, as by `insert`, those before it stay."""
    connection.executemany(_INSERT, rows)


def update(connection: Connection, id: str, content: str) -> Message | None:
    """Set the content and return the message as it is then; None where there is none."""
    row = connection.execute(_UPDATE, (content, id)).fetchall()
    if not row:
        return None
    session_id, role, timestamp = row[0]
    # Another program may have written it as bytes, for which no notice can be sent.
    return Message(id, str(session_id), role, content, timestamp)


def delete(connection: Connection, id: str) -> str | None:
    """Delete a message. Returns its session's id; None where there is no such message."""
    row = connection.execute(_DELETE, (id,)).fetchall()
    return str(row[0][0]) if row else None


def get(connection: Connection, id: str) -> Message | None:
    """The message of that id, or None."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM messages WHERE id = ?", (id,)).fetchone()
    return None if row is None else new_message(*row)


def get_several(connection: Connection, ids: Sequence[str]) -> list[Message]:
    """Those messages of `ids` that there are, in any order. SQLite takes 999 ids at the least."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"SELECT {_COLUMNS} FROM messages WHERE id IN ({marks})", ids)
    return [new_message(*row) for row in rows.fetchall()]


def place(connection: Connection, id: str, session_id: str) -> int | None:
    """The rowid of a message of that session, or None."""
    row = connection.execute(
        "SELECT rowid FROM messages WHERE id = ? AND session_id = ?", (id, session_id)
    ).fetchone()
    return None if row is None else int(row[0])


def place_before_last(connection: Connection, session_id: str, count: int) -> int | None:
    """The rowid behind which the last `count` messages of a session are; None where all are."""
    row = connection.execute(
        f"SELECT rowid FROM messages {_BY_SESSION}"
        " WHERE session_id = ? ORDER BY rowid DESC LIMIT 1 OFFSET ?",
        (session_id, count),
    ).fetchone()
    return None if row is None else int(row[0])


def page(
    connection: Connection,
    session_id: str,
    *,
    after_rowid: int | None,
    rows_max: int,
    bytes_max: int,
) -> list[tuple[int, Message]]:
    """A session's messages behind `after_rowid`, each with its rowid; None is the beginning.

    The page ends after `rows_max` rows, or with the row that brings it to `bytes_max` characters.
    """
    behind = "" if after_rowid is None else "AND rowid > ?"
    parameters = (session_id,) if after_rowid is None else (session_id, after_rowid)
    cursor = connection.execute(
        f"SELECT rowid, {_COLUMNS} FROM messages {_BY_SESSION}"
        f" WHERE session_id = ? {behind} ORDER BY rowid LIMIT ?",
        (*parameters, rows_max),
    )
    rows = []
    characters = 0
    for rowid, *columns in cursor:
        message = new_message(*columns)
        rows.append((rowid, message))
        characters += len(message.content)
        if characters >= bytes_max:
            break
    cursor.close()  # a statement that is not at its end would pin its snapshot
    return rows


def extent(connection: Connection, session_id: str) -> tuple[int, int]:
    """How many messages a session has, and how many bytes their contents have."""
    count, content_bytes = connection.execute(
        f"SELECT count(*), coalesce(sum({_BYTES}), 0) FROM messages {_BY_SESSION}"
        " WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    return int(count), int(content_bytes)


def last(connection: Connection, session_id: str) -> tuple[int, str, str] | None:
    """Rowid, id and timestamp of a session's last message, or None."""
    row = connection.execute(
        f"SELECT rowid, id, timestamp FROM messages {_BY_SESSION}"
        " WHERE session_id = ? ORDER BY rowid DESC LIMIT 1",
        (session_id,),
    ).fetchone()
    return None if row is None else (int(row[0]), row[1], row[2])


def sizes(
    connection: Connection, session_id: str, *, after_rowid: int | None, rows_max: int
) -> list[tuple[int, str, int]]:
    """Rowid, id and bytes of content of a session's oldest messages behind `after_rowid`."""
    behind = "" if after_rowid is None else "AND rowid > ?"
    parameters = (session_id,) if after_rowid is None else (session_id, after_rowid)
    rows: list[tuple[int, str, int]] = connection.execute(
        f"SELECT rowid, id, {_BYTES} FROM messages {_BY_SESSION}"
        f" WHERE session_id = ? {behind} ORDER BY rowid LIMIT ?",
        (*parameters, rows_max),
    ).fetchall()
    return rows


def count(connection: Connection) -> int:
    """How many messages there are."""
    return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0])


def an_orphaned_session(connection: Connection) -> str | None:
    """The id of a session that messages name and that does not exist."""
    row = connection.execute(
        f"""SELECT session_id FROM messages {_BY_SESSION} WHERE session_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE id = session_id) LIMIT 1"""
    ).fetchone()
    return None if row is None else str(row[0])


def count_up_to(connection: Connection, rows_max: int) -> int:
    """How many messages there are, counted no further than `rows_max`."""
    # The index is shorter than the table by the messages' contents, which lie in its rows.
    counted = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM messages {_BY_SESSION} LIMIT ?)", (rows_max,)
    )
    return int(counted.fetchone()[0])


def count_orphans(connection: Connection) -> int:
    """How many messages name a session that does not exist. Looks at each session_id once."""
    return int(
        connection.execute(
            f"""SELECT coalesce(sum(number), 0) FROM (
                SELECT session_id, count(*) AS number FROM messages {_BY_SESSION}
                WHERE session_id IS NOT NULL GROUP BY session_id
            ) AS named WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE id = named.session_id)"""
        ).fetchone()[0]
    )
