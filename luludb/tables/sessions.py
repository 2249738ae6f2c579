"""`sessions`: its SQL. A row is `(id, name, status, working_dir, created_at, updated_at)`."""

from __future__ import annotations

from collections.abc import Sequence

from luludb.model import Session
from luludb.tables import Connection

_COLUMNS = "id, name, status, working_dir, created_at, updated_at"
# OR ABORT: an adopted table may say otherwise, such as to replace the session of an id that is
# taken, and with it every message.
_INSERT = f"INSERT OR ABORT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE = f"""UPDATE OR ABORT sessions SET name = coalesce(?, name), status = coalesce(?, status),
working_dir = coalesce(?, working_dir), updated_at = ? WHERE id = ? RETURNING {_COLUMNS}"""


def insert(connection: Connection, session: Session) -> None:
    """Add `session`. An id that is taken is the connection's own constraint error."""
    connection.execute(
        _INSERT,
        (
            session.id,
            session.name,
            session.status,
            session.working_dir,
            session.created_at,
            session.updated_at,
        ),
    )


def update(
    connection: Connection,
    id: str,
    *,
    name: str | None,
    status: str | None,
    working_dir: str | None,
    updated_at: str,
) -> Session | None:
    """Change what is not None and return the session as it is then; None where there is none."""
    row = connection.execute(_UPDATE, (name, status, working_dir, updated_at, id)).fetchall()
    return Session(*row[0]) if row else None


def delete(connection: Connection, id: str) -> int | None:
    """Delete a session with its messages. Returns how many; None where there is no such session."""
    count = connection.execute(
        "SELECT count(*) FROM messages INDEXED BY idx_messages_session_id WHERE session_id = ?",
        (id,),
    ).fetchone()[0]
    found = connection.execute("DELETE FROM sessions WHERE id = ? RETURNING 1", (id,)).fetchall()
    return int(count) if found else None


def page_in_rowid_order(
    connection: Connection, *, after_rowid: int | None, limit: int
) -> list[tuple[int, Session]]:
    """Up to `limit` sessions behind `after_rowid`, each with its rowid; None is the beginning."""
    where, parameters = ("", ()) if after_rowid is None else ("WHERE rowid > ?", (after_rowid,))
    rows = connection.execute(
        f"SELECT rowid, {_COLUMNS} FROM sessions {where} ORDER BY rowid LIMIT ?",
        (*parameters, limit),
    )
    return [(rowid, Session(*columns)) for rowid, *columns in rows.fetchall()]


def get(connection: Connection, id: str) -> Session | None:
    """The session of that id, or None."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (id,)).fetchone()
    return None if row is None else Session(*row)


def get_several(connection: Connection, ids: Sequence[str]) -> list[Session]:
    """Those sessions of `ids` that there are, in any order. SQLite takes 999 ids at the least."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE id IN ({marks})", ids)
    return [Session(*row) for row in rows.fetchall()]


def page(
    connection: Connection,
    *,
    status: str | None,
    working_dir: str | None,
    after: Session | None,
    limit: int,
) -> list[Session]:
    """Up to `limit` sessions by (created_at, id) descending, behind `after`; None is no filter."""
    conditions: list[str] = []
    parameters: list[str | int] = []
    if status is not None:
        conditions.append("status = ?")
        parameters.append(status)
    if working_dir is not None:
        conditions.append("working_dir = ?")
        parameters.append(working_dir)
    if after is not None:
        conditions.append("(created_at, id) < (?, ?)")
        parameters += (after.created_at, after.id)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions {where} ORDER BY created_at DESC, id DESC LIMIT ?",
        (*parameters, limit),
    )
    return [Session(*row) for row in rows.fetchall()]


def ids_and_names(connection: Connection, *, prefix: str, rows_max: int) -> list[tuple[str, str]]:
    """Id and name of sessions whose id begins with `prefix`, the greatest id first."""
    # The greatest code point is above whatever follows the prefix, and the range uses the index.
    rows = connection.execute(
        "SELECT id, name FROM sessions WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?",
        (prefix, prefix + "\U0010ffff", rows_max),
    )
    return [(str(id), str(name)) for id, name in rows.fetchall()]


def count_of_status(connection: Connection, status: str) -> int:
    """How many sessions have that status."""
    return int(
        connection.execute("SELECT count(*) FROM sessions WHERE status = ?", (status,)).fetchone()[
            0
        ]
    )


def count(connection: Connection) -> int:
    """How many sessions there are."""
    return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])
