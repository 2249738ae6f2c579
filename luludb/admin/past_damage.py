"""Rows of a damaged SQLite file, table by table: what can be read, and where something cannot."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from luludb.limits import DAMAGE_ATTEMPTS_MAX

_LAST_ROWID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that cannot be read, if there were any.

    Attributes:
        first: the least rowid of them.
        last: the greatest; None where nothing behind `first` can be read.
        reason: SQLite's words.
    """

    table: str
    first: int
    last: int | None
    reason: str

    def __str__(self) -> str:
        last = "to the end" if self.last is None else f"to {self.last}"
        return f"{self.table} with rowid {self.first} {last} cannot be read: {self.reason}"


def rows_past_damage(
    connection: sqlite3.Connection, table: str, columns: str
) -> Iterator[tuple[Any, ...] | Gap]:
    """Every row of `table` that can be read, in rowid order, and a gap for what lies between.

    A page that is damaged ends a walk through the table. One that begins behind it does not meet
    it: the way there leads past it, over the pages above.
    """
    walk = f"SELECT rowid, {columns} FROM {table} WHERE rowid >= ? ORDER BY rowid"
    wanted = -_LAST_ROWID
    while True:
        try:
            for rowid, *values in connection.execute(walk, (wanted,)):
                wanted = min(rowid + 1, _LAST_ROWID)
                yield tuple(values)
        except sqlite3.DatabaseError as error:
            # sqlite3 takes one step more than it was asked for, and this error the row before it.
            before = None
            with contextlib.suppress(sqlite3.DatabaseError):
                before = _first_from(connection, walk, wanted)
            if before is not None:
                wanted = min(before[0] + 1, _LAST_ROWID)
                yield before[1:]
            wanted = max(wanted, 1)  # where SQLite begins to count
            readable = _next_readable(connection, walk, wanted)
            yield Gap(table, wanted, None if readable is None else readable - 1, str(error))
            if readable is None:
                return
            wanted = readable
        else:
            return


def _next_readable(connection: sqlite3.Connection, walk: str, wanted: int) -> int | None:
    """The least rowid behind `wanted` from which a walk can begin; None where there is none.

    Each one is tried, so that nothing whole between two damaged pages is missed; where too many
    fail, as below a page high up in the tree, ever greater steps are taken.
    """
    step = 1
    for tried in range(DAMAGE_ATTEMPTS_MAX):
        if tried >= DAMAGE_ATTEMPTS_MAX - _LAST_ROWID.bit_length():
            step *= 2
        wanted += step
        if wanted > _LAST_ROWID:
            return None
        try:
            _first_from(connection, walk, wanted)
        except sqlite3.DatabaseError:
            continue
        return wanted
    return None


def _first_from(connection: sqlite3.Connection, walk: str, wanted: int) -> tuple[Any, ...] | None:
    """The first row of a walk that begins at the rowid `wanted`."""
    found: tuple[Any, ...] | None = connection.execute(f"{walk} LIMIT 1", (wanted,)).fetchone()
    return found
