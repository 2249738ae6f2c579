"""luludb itself: a daemon in its own process, and its blocking client in each measured one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import luludb
from luludb.errors import LuludbError
from luludb_client import Client
from luludb_client.testing import running_daemon
from scripts.bench import direct
from scripts.bench.rows import Message, Session
from scripts.bench.systems import CallFailed

KEEPS_ROWS = True
TIMEOUT_S = 30.0
COLUMNS = ("id", "session_id", "role", "content", "timestamp")

kept_rows = direct.kept_rows


def reason_missing() -> str | None:
    return None


def version() -> str:
    return f"luludb {luludb.__version__}"


def settings() -> str:
    return "`luludb serve --durability full` or `normal`, all other settings as they come"


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    with running_daemon(directory, args=["--durability", durability]) as daemon:
        yield daemon.pid
        daemon.stop()


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[LuludbClient]:
    del durability  # is the daemon's
    with Client(directory, timeout_s=TIMEOUT_S) as client:
        yield LuludbClient(client)


def commits_text(name: str, directory: Path) -> str:
    """What the daemon says of its commits of the last minute, in a sentence."""
    with Client(directory) as client:
        status = client.status()
    return (
        f"{name}: in the last minute a commit held {status['batch_commands_p50']} commands at p50"
        f" and {status['batch_commands_p99']} at p99, and took {status['commit_ms_p50']:.2f} and"
        f" {status['commit_ms_p99']:.2f} ms."
    )


class LuludbClient:
    """A Client, called as its users call it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._append = client.append_message

    def create_session(self, session: Session) -> None:
        id, name, status, working_dir, _, _ = session
        self._client.create_session(name, working_dir, id=id, status=status)

    def append(self, message: Message) -> None:
        id, session_id, role, content, timestamp = message
        try:
            self._append(session_id, role, content, id=id, timestamp=timestamp)
        except LuludbError as error:
            raise CallFailed(error.code) from error

    def append_together(self, messages: Sequence[Message]) -> None:
        try:
            with self._client.transaction() as together:
                for id, session_id, role, content, timestamp in messages:
                    together.append_message(session_id, role, content, id=id, timestamp=timestamp)
        except LuludbError as error:
            raise CallFailed(error.code) from error

    def submit(self, message: Message) -> Future[dict[str, Any]]:
        id, session_id, role, content, timestamp = message
        return self._client.submit(
            "message.append",
            id=id,
            session_id=session_id,
            role=role,
            content=content,
            timestamp=timestamp,
        )
