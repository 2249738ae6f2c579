"""sqlite_rx: SQL over ZeroMQ to one SQLite process, a transaction a statement."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bench import direct, processes
from scripts.bench.rows import Message, Session
from scripts.bench.systems import CallFailed
from scripts.load.writer import PLAIN_SCHEMA

if TYPE_CHECKING:
    from sqlite_rx.client import SQLiteClient
    from sqlite_rx.server import SQLiteServer

KEEPS_ROWS = True

kept_rows = direct.kept_rows


def reason_missing() -> str | None:
    if importlib.util.find_spec("sqlite_rx") is None:
        return "sqlite_rx is not installed"
    return None


def version() -> str:
    found = importlib.metadata.version("sqlite_rx")
    return f"sqlite_rx {found} with SQLite {sqlite3.sqlite_version}"


def settings() -> str:
    return (
        "its server over ipc, WAL; synchronous FULL or NORMAL and foreign_keys ON by PRAGMA, which"
        " its authorizer was set to let through; a transaction a statement, since it has no others"
    )


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    with contextlib.closing(sqlite3.connect(directory / direct.DATABASE)) as connection:
        connection.executescript(PLAIN_SCHEMA)
    with processes.running("scripts.bench.sqlite_rx_system", str(directory)) as server:
        with _client(directory) as client:
            _execute(client, f"PRAGMA synchronous = {durability}")
            _execute(client, "PRAGMA foreign_keys = ON")
            levels = {"normal": 1, "full": 2}
            found = [
                client.execute(f"PRAGMA {name}")["items"]
                for name in ("synchronous", "foreign_keys")
            ]
            if found != [[[levels[durability]]], [[1]]]:
                raise RuntimeError(f"sqlite_rx did not take the settings; it has {found}")
        yield server.pid


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[SqliteRxClient]:
    del durability  # was set at the server
    with _client(directory) as client:
        yield SqliteRxClient(client)


class SqliteRxClient:
    """Its client, called as its users call it."""

    def __init__(self, client: SQLiteClient) -> None:
        self._client = client

    def create_session(self, session: Session) -> None:
        _execute(self._client, direct.INSERT_SESSION, *session)

    def append(self, message: Message) -> None:
        _execute(self._client, direct.INSERT_MESSAGE, *message)


def _execute(client: SQLiteClient, statement: str, *values: str) -> None:
    from sqlite_rx.exception import SQLiteRxConnectionError

    try:
        answer = client.execute(statement, *values)
    except SQLiteRxConnectionError as error:
        # It was sent up to five times, and nobody knows how often it ran.
        raise CallFailed("outcome_unknown") from error
    if answer["error"]:
        raise CallFailed(str(answer["error"]["type"]))


@contextlib.contextmanager
def _client(directory: Path) -> Iterator[SQLiteClient]:
    import zmq
    from sqlite_rx.client import SQLiteClient

    logging.disable(logging.WARNING)
    with zmq.Context() as context, SQLiteClient(_endpoint(directory), context=context) as client:
        yield client


def _endpoint(directory: Path) -> str:
    return f"ipc://{directory / 'rx.sock'}"


def main() -> None:
    """Run its server in this process until the standard input ends."""
    import threading

    from sqlite_rx.server import SQLiteServer

    directory = Path(sys.argv[1])
    logging.disable(logging.WARNING)
    server = SQLiteServer(
        bind_address=_endpoint(directory),
        database=str(directory / direct.DATABASE),
        # Its own configuration swallows every PRAGMA; what is not named here is allowed.
        auth_config={sqlite3.SQLITE_OK: {sqlite3.SQLITE_PRAGMA}},
    )
    server.setup()
    threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
    print("ready", flush=True)
    server.loop.start()


def _stop_at_end_of_input(server: SQLiteServer) -> None:
    sys.stdin.read()
    server.loop.add_callback(server.loop.stop)


if __name__ == "__main__":
    main()
