"""The limit: one process puts all rows into one transaction, with the daemon's own connection.

Run as `python -m scripts.bench.limit FILE DIRECTORY` it does so with the rows of a file of JSON
lines: it prints `ready` when they are read, and takes a line to begin.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from luludb.daemon.connection import LockWait, open_database, set_synchronous
from luludb.home import find_home, prepare_home
from luludb.times import now_text
from scripts.bench import direct
from scripts.bench.rows import Message, Session, rows_of_file

KEEPS_ROWS = True
INSERT_CHANGE = "INSERT INTO lulu_changes VALUES (?, ?, ?, ?, ?)"

kept_rows = direct.kept_rows


def reason_missing() -> str | None:
    return None


def version() -> str:
    return f"SQLite {apsw.sqlite_lib_version()} of apsw {apsw.apsw_version()}"


def settings() -> str:
    return (
        "the daemon's own connection, no sockets, no ledger; one transaction for all rows, each"
        " with its row in lulu_changes; timed from BEGIN to the end of COMMIT and of the checkpoint"
        " behind it, without the making of the rows"
    )


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    """There is no server; the one client makes the file."""
    del directory, durability
    yield None


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[LimitClient]:
    """The file's only connection; its tables are made where they are missing."""
    home = find_home(directory)
    prepare_home(home)
    connection = open_database(home, LockWait(home, lambda: False))
    try:
        set_synchronous(connection, full=durability == "full")
        yield LimitClient(connection)
    finally:
        connection.close()


class LimitClient:
    """The only process on its file.

    Attributes:
        rev: of the last change.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.rev = 0

    def create_session(self, session: Session) -> None:
        self.connection.execute(direct.INSERT_SESSION, session)

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def add(self, messages: Sequence[Message]) -> None:
        """Insert `messages` and their changes into the open transaction."""
        self.add_messages(messages)
        self.add_changes("message.append", [(message[1], message[0]) for message in messages])

    def add_messages(self, messages: Sequence[Message]) -> None:
        """Insert `messages` alone."""
        self.connection.executemany(direct.INSERT_MESSAGE, messages)

    def add_changes(self, op: str, ids: Sequence[tuple[str, str | None]]) -> None:
        """Insert a change for each (session id, message id)."""
        at = now_text()
        first_rev = self.rev + 1
        self.rev += len(ids)
        self.connection.executemany(
            INSERT_CHANGE, ((rev, op, *pair, at) for rev, pair in enumerate(ids, first_rev))
        )

    def commit(self) -> None:
        """Commit, and bring the log into the database as SQLite by itself would then do."""
        self.connection.execute("COMMIT")
        self.connection.wal_checkpoint()


def main() -> None:
    """Write the rows of a file in one transaction, and print the seconds that it took."""
    file, directory = map(Path, sys.argv[1:])
    rows = list(rows_of_file(file))
    with connected(directory, "normal") as client:
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter_ns()
        client.begin()
        for sessions, messages in rows:
            client.connection.executemany(direct.INSERT_SESSION, sessions)
            client.add_changes("session.create", [(session[0], None) for session in sessions])
            client.add(messages)
        client.commit()
        print(json.dumps({"seconds": (time.perf_counter_ns() - began) / 1e9}), flush=True)


if __name__ == "__main__":
    main()
