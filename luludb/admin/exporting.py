"""Export: every session with its messages as JSON lines, in the order of the tables."""

from __future__ import annotations

import gzip
import os
import shlex
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path

from luludb.admin.jsonlines import row_line
from luludb.errors import LuludbError, NotFound
from luludb_client.replica import Replica


class Export:
    """Lines on their way out. No snapshot is held: rows that come meanwhile may be missing.

    Attributes:
        sessions: how many sessions were given out so far.
        messages: how many messages were given out so far.
        orphans: how many messages were left out at the end, since their session does not exist.

    Raises:
        NotFound: there is no session `session_id`.
    """

    def __init__(self, replica: Replica, *, session_id: str | None = None) -> None:
        self.sessions = 0
        self.messages = 0
        self.orphans = 0
        self._replica = replica
        self._only = None
        if session_id is not None:
            self._only = replica.get_session(session_id)
            if self._only is None:
                raise NotFound(f"there is no session {session_id}")

    def lines(self) -> Generator[bytes, None, None]:
        """Sessions in rowid order, each followed by its messages in the order of their append."""
        for session in self._replica.all_sessions() if self._only is None else (self._only,):
            self.sessions += 1
            yield row_line(session)
            messages = self._replica.list_messages(session.id, after=None, limit=None, last=None)
            for message in messages:
                self.messages += 1
                yield row_line(message)
        if self._only is None:
            self.orphans = self._replica.count_orphans()


@contextmanager
def open_destination(name: str) -> Iterator[BufferedIOBase]:
    """Where lines are written: the file `name`, packed if it ends in .gz; `-` is standard output.

    A file gets its name when all is written and on the disk; until then, and after an error,
    there is what was there before. What is not a regular file is written to as it is.

    Raises:
        LuludbError: the directory for it is not there.
        OSError: it cannot be written.
    """
    if name == "-":
        with open(sys.stdout.fileno(), "wb", closefd=False) as stream:
            yield stream
        return
    # A symbolic link stays one: the file that it names is replaced.
    path = Path(os.path.realpath(name))
    if not path.parent.is_dir():
        raise LuludbError(
            f"there is no directory {path.parent}; make it first: mkdir -p"
            f" {shlex.quote(str(path.parent))}"
        )
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            if path.exists():
                aside.chmod(stat.S_IMODE(path.stat().st_mode))
            with ExitStack() as stack:
                if path.suffix == ".gz":
                    # Without name and time the same rows give the same bytes.
                    yield stack.enter_context(
                        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
                    )
                else:
                    yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
