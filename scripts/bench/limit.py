"""The limit: one process puts all rows into one transaction, with the daemon's own connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from luludb.daemon.connection import LockWait, open_database, set_synchronous
from luludb.home import find_home, prepare_home
from luludb.times import now_text
from scripts.bench import direct
from scripts.bench.rows import Message, Session

KEEPS_ROWS = True
INSERT_CHANGE = "INSERT INTO lulu_changes VALUES (?, ?, ?, ?, ?)"

kept_rows = direct.kept_rows


def reason_missing() -> str | None:
    return None


def version() -> str:
    return f"SQLite {apsw.sqlite_lib_version()} of apsw {apsw.apsw_version()}"


def settings(durability: str) -> str:
    return (
        "the daemon's own connection, no sockets, no ledger; one transaction for all rows, each"
        f" with its row in lulu_changes; synchronous {durability.upper()}; timed from BEGIN to the"
        " end of COMMIT and of the checkpoint behind it, without the making of the rows"
    )


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    """There is no server; the one client makes the file."""
    del directory, durability
    yield None


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[LimitClient]:
    home = find_home(directory)
    prepare_home(home)
    connection = open_database(home, LockWait(home, lambda: False))
    try:
        set_synchronous(connection, full=durability == "full")
        yield LimitClient(connection)
    finally:
        connection.close()


class LimitClient:
    """The only process on its file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rev = 0

    def create_session(self, session: Session) -> None:
        self._connection.execute(direct.INSERT_SESSION, session)

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def add(self, messages: Sequence[Message]) -> None:
        """Insert `messages` and their changes into the open transaction."""
        at = now_text()
        first_rev = self._rev + 1
        self._rev += len(messages)
        self._connection.executemany(direct.INSERT_MESSAGE, messages)
        self._connection.executemany(
            INSERT_CHANGE,
            (
                (rev, "message.append", message[1], message[0], at)
                for rev, message in enumerate(messages, first_rev)
            ),
        )

    def commit(self) -> None:
        """Commit, and bring the log into the database as SQLite by itself would then do."""
        self._connection.execute("COMMIT")
        self._connection.wal_checkpoint()
