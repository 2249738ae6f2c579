"""Where an import reads from: JSON lines, packed or not, standard input, or a SQLite file."""

from __future__ import annotations

import gzip
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from luludb.admin import jsonlines, sqlite_source
from luludb.admin.rows import Refusal, Row
from luludb.errors import InvalidRequest

_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952, section 2.3.1


@dataclass(frozen=True, slots=True)
class Source:
    """Rows to import, and how far the reading is.

    Attributes:
        total: bytes in the file, or rows in a SQLite file; None where that is not known.
        done: how many of these are read.
    """

    rows: Iterator[Row | Refusal]
    total: int | None
    done: Callable[[], int]


@contextmanager
def open_source(name: str) -> Iterator[Source]:
    """What the file `name` holds, by its first bytes; `-` is standard input.

    Raises:
        OSError: the file cannot be opened.
        InvalidRequest: it is a SQLite file without the two tables, or one on standard input.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_open(name))
        header = file.peek(len(sqlite_source.HEADER))
        if header.startswith(sqlite_source.HEADER):
            # Closing a descriptor of a SQLite file later would drop the locks of every connection
            # that this process has to it (sqlite.org/howtocorrupt.html, section 2.2).
            file.close()
            yield _sqlite(stack, name)
            return
        packed = name.endswith(".gz") or header.startswith(_GZIP_MAGIC)
        stream = stack.enter_context(gzip.open(file)) if packed else file
        found = os.fstat(file.fileno())
        total = found.st_size if stat.S_ISREG(found.st_mode) else None
        yield Source(jsonlines.read_rows(stream), total, file.tell if total is not None else _zero)


def _open(name: str) -> BufferedReader:
    return open(sys.stdin.fileno(), "rb", closefd=False) if name == "-" else Path(name).open("rb")


def _sqlite(stack: ExitStack, name: str) -> Source:
    if name == "-":
        raise InvalidRequest("standard input is a SQLite file; give the file's name instead of -")
    connection = stack.enter_context(closing(sqlite_source.open_sqlite(Path(name))))
    read = 0

    def counted() -> Iterator[Row | Refusal]:
        nonlocal read
        for row in sqlite_source.read_rows(connection):
            read += 1
            yield row

    return Source(counted(), sqlite_source.count_rows(connection), lambda: read)


def _zero() -> int:
    return 0
