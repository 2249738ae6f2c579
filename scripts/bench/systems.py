"""The systems that are measured, and what the benchmark asks of each."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, cast

from scripts.bench.rows import Message

MODULES = {
    "luludb": "luludb_system",
    "direct": "direct",
    "PostgreSQL": "postgresql",
    "sqlite_rx": "sqlite_rx_system",
    "limit": "limit",
    "echo": "echo",
}


class CallFailed(Exception):
    """A measured call failed; the text is a short code, `outcome_unknown` where it may be kept."""


class System(Protocol):
    """What the module of a system has. Everything of one installation lies in one directory."""

    KEEPS_ROWS: bool
    """Whether there is something to read back."""

    def reason_missing(self) -> str | None:
        """Why the system cannot be measured here; None where it can."""

    def version(self) -> str:
        """What is measured, for the report."""

    def settings(self) -> str:
        """How it is set at `full` and at `normal`, for the report."""

    def serving(self, directory: Path, durability: str) -> AbstractContextManager[int | None]:
        """Run it with empty tables until the end of the `with`; yields the server's pid, if any."""

    def connected(self, directory: Path, durability: str) -> AbstractContextManager[Any]:
        """A client's connection, in a process of its own.

        It has `create_session(session)`, and of these what the system can do: `append(message)`,
        `append_together(messages)` in one transaction, `submit(message)` for a future. They raise
        CallFailed.
        """

    def kept_rows(self, directory: Path) -> AbstractContextManager[KeptRows]:
        """What the tables have, read past the clients."""


KeptRows = tuple[Iterable[tuple[str, str, str, str]], Iterable[Message]]
"""`(id, name, status, working_dir)` of sessions; messages in the order of appending."""


def system(name: str) -> System:
    """The module of a system. It imports no more than that system's client needs."""
    return cast("System", importlib.import_module(f"scripts.bench.{MODULES[name]}"))
