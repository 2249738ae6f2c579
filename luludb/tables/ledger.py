"""`lulu_clients` and `lulu_replies`: who sends commands, and the replies that are kept for them.

A client's kept replies lie in chunks, one row for each batch that it took part in. A chunk also
says what the client's last seq and acked were. The row with the greatest `last_seq` is the
client's state, so one statement a client and batch keeps everything. A chunk whose `last_seq` is
acknowledged is free, and its slot is written again: a client that waits for each reply uses one
row for ever. The id of a chunk is the client's id times `SLOTS` and the slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from luludb.limits import KEPT_CHUNKS_MAX
from luludb.tables import Connection

SLOTS = KEPT_CHUNKS_MAX

_PUT = """INSERT OR REPLACE INTO lulu_replies (id, last_seq, acked, used_s, replies)
VALUES (?, ?, ?, ?, ?)"""


class Chunk(NamedTuple):
    """One row of kept replies, without them."""

    slot: int
    last_seq: int
    acked: int
    used_s: int
    reply_bytes: int


def find_client(connection: Connection, client_id: bytes) -> tuple[int, int] | None:
    """Number and `used_s` of a registered client, or None."""
    row = connection.execute(
        "SELECT id, used_s FROM lulu_clients WHERE client_id = ?", (client_id,)
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def add_client(connection: Connection, client_id: bytes, used_s: int) -> int:
    """Register a client at `used_s` of the daemon's running time. Returns its number."""
    row = connection.execute(
        "INSERT INTO lulu_clients (client_id, used_s) VALUES (?, ?) RETURNING id",
        (client_id, used_s),
    ).fetchall()
    return int(row[0][0])


def touch_client(connection: Connection, number: int, used_s: int) -> None:
    """Note that a client was there at `used_s` of the daemon's running time."""
    connection.execute("UPDATE lulu_clients SET used_s = ? WHERE id = ?", (used_s, number))


def count_clients(connection: Connection) -> int:
    """How many clients are registered."""
    return int(connection.execute("SELECT count(*) FROM lulu_clients").fetchone()[0])


def kept_size(connection: Connection) -> tuple[int, int]:
    """How many chunks of kept replies there are, and how many bytes they have together."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(length(replies)), 0) FROM lulu_replies"
    ).fetchone()
    return int(row[0]), int(row[1])


def unused_clients(connection: Connection, before_s: int, limit: int) -> list[tuple[int, bytes]]:
    """Number and client_id of clients that sent nothing since `before_s` of running time."""
    rows = connection.execute(
        f"""SELECT id, client_id FROM lulu_clients AS client WHERE used_s < ?1 AND NOT EXISTS (
            SELECT 1 FROM lulu_replies WHERE used_s >= ?1
            AND id BETWEEN client.id * {SLOTS} AND client.id * {SLOTS} + {SLOTS - 1}
        ) LIMIT ?2""",
        (before_s, limit),
    ).fetchall()
    return [(int(number), bytes(client_id)) for number, client_id in rows]


def forget_client(connection: Connection, number: int) -> None:
    """Delete a client and what was kept for it."""
    connection.execute(
        "DELETE FROM lulu_replies WHERE id BETWEEN ? AND ?",
        (number * SLOTS, number * SLOTS + SLOTS - 1),
    )
    connection.execute("DELETE FROM lulu_clients WHERE id = ?", (number,))


def read_chunks(connection: Connection, number: int) -> list[Chunk]:
    """A client's chunks, oldest first."""
    rows = connection.execute(
        """SELECT id, last_seq, acked, used_s, length(replies) FROM lulu_replies
        WHERE id BETWEEN ? AND ? ORDER BY last_seq""",
        (number * SLOTS, number * SLOTS + SLOTS - 1),
    ).fetchall()
    return [Chunk(int(id) % SLOTS, *rest) for id, *rest in rows]


def put_chunks(connection: Any, rows: Iterable[tuple[int, int, int, int, bytes]]) -> None:
    """Write chunks into free slots, over what was there.

    Args:
        connection: to the database.
        rows: `(id, last_seq, acked, used_s, replies)` each; the id is number * SLOTS + slot.
    """
    connection.executemany(_PUT, rows)


def read_replies(connection: Connection, number: int, slot: int) -> bytes:
    """The packed replies of one chunk."""
    return bytes(
        connection.execute(
            "SELECT replies FROM lulu_replies WHERE id = ?", (number * SLOTS + slot,)
        ).fetchone()[0]
    )


def last_seqs(connection: Connection, rows_max: int) -> dict[int, int]:
    """The last seq of each client by its number, from the newest clients' chunks.

    At most `rows_max` chunks are looked at, so that old clients may be missing.
    """
    rows = connection.execute(
        f"""SELECT id / {SLOTS}, max(last_seq) FROM (
            SELECT id, last_seq FROM lulu_replies ORDER BY id DESC LIMIT ?
        ) GROUP BY 1""",
        (rows_max,),
    )
    return dict(rows.fetchall())


def last_chunk(connection: Connection, number: int) -> tuple[bytes, bytes] | None:
    """A client's client_id and the packed replies of its newest chunk; None where it is gone."""
    row = connection.execute(
        """SELECT client_id, replies FROM lulu_clients AS client, lulu_replies AS chunk
        WHERE client.id = ?1 AND chunk.id BETWEEN ?2 AND ?3 ORDER BY last_seq DESC LIMIT 1""",
        (number, number * SLOTS, number * SLOTS + SLOTS - 1),
    ).fetchone()
    return None if row is None else (bytes(row[0]), bytes(row[1]))
