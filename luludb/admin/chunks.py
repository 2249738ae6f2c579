"""Chunks: the lines of one transaction of an import, and the command that adds their rows."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from luludb.admin.rows import CREATE, Refusal, Row
from luludb.commands import TRANSACTION
from luludb.errors import InvalidRequest
from luludb.limits import (
    IMPORT_CHUNK_BYTES_MAX,
    IMPORT_CHUNK_CHARACTERS_MAX,
    IMPORT_CHUNK_ROWS_MAX,
)
from luludb.wire import encode_content


class Chunk:
    """Lines in their order, at least one: rows to add, and what else was found.

    Attributes:
        entries: all of them.
        rows: those that are to be added.
        content: the transaction that adds `rows`, packed; None where there are no rows, or where
            they cannot go together and each has to be sent alone.
    """

    __slots__ = ("content", "entries", "rows")

    def __init__(self, entries: list[Row | Refusal]) -> None:
        self.entries = entries
        self.rows = [entry for entry in entries if type(entry) is Row]
        self.content: bytes | None = None

    def leave_out(self, lines: Container[int]) -> None:
        """Take the rows of these lines out of `rows`."""
        self.rows = [row for row in self.rows if row.line not in lines]

    def pack(self) -> None:
        """Make `content`."""
        self.content = None
        if not self.rows:
            return
        commands = [row[1:] for row in self.rows]
        try:
            content = encode_content(TRANSACTION, {"commands": commands})
        except InvalidRequest:
            return  # a text that cannot be sent; its row says so when it is sent alone
        if len(content) <= IMPORT_CHUNK_BYTES_MAX:
            self.content = content

    def count_sessions(self) -> int:
        """How many of `rows` are sessions."""
        return sum(row.op == CREATE for row in self.rows)


def chunks_of(rows: Iterable[Row | Refusal]) -> Iterator[Chunk]:
    """`rows` in order, as many together as go into one transaction; nothing more is held."""
    entries: list[Row | Refusal] = []
    characters = 0
    for row in rows:
        entries.append(row)
        if type(row) is Row and "content" in row.args:
            characters += len(row.args["content"])
        if len(entries) == IMPORT_CHUNK_ROWS_MAX or characters >= IMPORT_CHUNK_CHARACTERS_MAX:
            yield Chunk(entries)
            entries = []
            characters = 0
    if entries:
        yield Chunk(entries)
