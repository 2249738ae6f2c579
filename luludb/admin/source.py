"""Where an import reads from: JSON lines, packed or not, standard input, or a SQLite file."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

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
        InvalidRequest: it is a directory, or a SQLite file without the two tables.
    """
    if name == "-":
        yield Source(jsonlines.read_rows(sys.stdin.buffer), None, lambda: 0)
        return
    path = Path(name)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        header = file.peek(len(sqlite_source.HEADER))[: len(sqlite_source.HEADER)]
        if header == sqlite_source.HEADER:
            file.close()
            yield _sqlite(stack, path)
        else:
            packed = path.suffix == ".gz" or header.startswith(_GZIP_MAGIC)
            stream = stack.enter_context(gzip.open(file)) if packed else file
            total = path.stat().st_size if path.is_file() else None
            yield Source(jsonlines.read_rows(stream), total, file.tell)


def _sqlite(stack: ExitStack, path: Path) -> Source:
    connection = stack.enter_context(closing(sqlite_source.open_sqlite(path)))
    read = 0

    def counted() -> Iterator[Row | Refusal]:
        nonlocal read
        for row in sqlite_source.read_rows(connection):
            read += 1
            yield row

    return Source(counted(), sqlite_source.count_rows(connection), lambda: read)
