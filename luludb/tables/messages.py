"""`messages`: its SQL. A row is `(id, session_id, role, content, timestamp)`, rowid the order."""

from __future__ import annotations

from luludb.model import Message
from luludb.tables import Connection

_INSERT = "INSERT INTO messages (id, session_id, role, content, timestamp) VALUES (?, ?, ?, ?, ?)"
_UPDATE = "UPDATE messages SET content = ? WHERE id = ? RETURNING session_id, role, timestamp"
_DELETE = "DELETE FROM messages WHERE id = ? RETURNING session_id"


def insert(
    connection: Connection, *, id: str, session_id: str, role: str, content: str, timestamp: str
) -> None:
    """Add a message at the end of its session.

    An id that is taken, or a session that does not exist, is the connection's constraint error.
    """
    connection.execute(_INSERT, (id, session_id, role, content, timestamp))


def update(connection: Connection, id: str, content: str) -> Message | None:
    """Set the content and return the message as it is then; None where there is none."""
    row = connection.execute(_UPDATE, (content, id)).fetchall()
    if not row:
        return None
    session_id, role, timestamp = row[0]
    return Message(id, session_id, role, content, timestamp)


def delete(connection: Connection, id: str) -> str | None:
    """Delete a message. Returns its session's id; None where there is no such message."""
    row = connection.execute(_DELETE, (id,)).fetchall()
    return str(row[0][0]) if row else None
