"""A writer on a real database in a temporary directory, and a peer that makes frames for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgpack

from luludb.daemon.connection import LockWait, open_database
from luludb.daemon.figures import Figures
from luludb.daemon.group_commit import GroupCommit
from luludb.daemon.writer import Writer
from luludb.home import Home
from luludb.settings import Settings

Reply = list[Any]


class Clock:
    """A monotonic clock that moves when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class WriterUnderTest:
    """A writer, its connection and its figures. `turn` takes frames as `(connection, frame)`."""

    def __init__(self, directory: Path, clock: Clock, **settings: Any) -> None:
        self.figures = Figures()
        self.settings = Settings(**settings)
        self.lock_wait = LockWait(Home(directory), lambda: False)
        self.connection = open_database(Home(directory), self.lock_wait)
        self.commit = GroupCommit(self.connection, self.settings, self.figures, clock)
        self.writer = Writer(
            self.commit, self.figures, boot_id="boot", durability=self.settings.durability
        )
        self.batches: list[Any] = []

    def turn(self, *frames: tuple[bytes, bytes], **options: Any) -> list[Reply]:
        """Run one turn and decode its replies."""
        turn = self.writer.turn([([route], frame) for route, frame in frames], **options)
        self.batches = turn.batches
        return [msgpack.unpackb(frame) for _, frame in turn.replies]

    def rows(self, sql: str, *parameters: Any) -> list[Any]:
        """What a query gives, on the writer's own connection."""
        return self.connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the database, as a clean stop does."""
        if self.connection is not None:
            self.commit.write_running_time()
            self.commit.close()

    def crash(self) -> None:
        """Close the connection and write nothing more, as the death of the process does."""
        self.connection.close()


@dataclass
class Peer:
    """A client that counts its own seqs and makes frames."""

    route: bytes = b"route-1"
    client_id: bytes = field(default_factory=lambda: os.urandom(16))
    seq: int = 0
    acked: int = 0

    def hello(self) -> tuple[bytes, bytes]:
        return self.frame("hello", {}, seq=0)

    def next(self, op: str, args: dict[str, Any], **options: Any) -> tuple[bytes, bytes]:
        self.seq += 1
        return self.frame(op, args, seq=self.seq, **options)

    def frame(
        self, op: str, args: dict[str, Any], *, seq: int, options: Any = None
    ) -> tuple[bytes, bytes]:
        elements: list[Any] = [1, self.client_id, seq, self.acked, op, args]
        if options is not None:
            elements.append(options)
        packed: bytes = msgpack.packb(elements)
        return self.route, packed

    def session(self, id: str, **args: Any) -> tuple[bytes, bytes]:
        return self.next("session.create", {"id": id, "name": "n", "working_dir": "/w", **args})

    def message(self, session_id: str, content: str, **args: Any) -> tuple[bytes, bytes]:
        return self.next(
            "message.append", {"session_id": session_id, "role": "user", "content": content, **args}
        )


def integrity(connection: apsw.Connection) -> str:
    """What SQLite's own check says."""
    return str(connection.execute("PRAGMA integrity_check").get)
