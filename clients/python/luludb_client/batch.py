"""A transaction of a client: the writing methods, collected and sent as one command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from luludb.errors import LuludbError
from luludb.ids import new_id
from luludb_client import operations
from luludb_client.operations import Operation

Results = list[dict[str, Any]]
Send = Callable[[Operation[Results]], Results]
SendAsync = Callable[[Operation[Results]], Awaitable[Results]]


class Transaction:
    """What `transaction()` of a client gives: the writing methods, which collect commands.

    They belong inside its `with`, or its `async with`; the commands are sent at the end of that.

    Attributes:
        results: one map for each command once it is applied: `{rev, id}` for create and append,
            `{rev}` for the others, and `deleted_messages` too for a deleted session.
    """

    def __init__(self) -> None:
        self._commands: list[tuple[str, dict[str, Any]]] = []
        self._is_open = False
        self._is_over = False
        self.results: Results = []

    def create_session(
        self, name: str, working_dir: str, *, id: str | None = None, status: str = "created"
    ) -> str:
        """Add a session. Returns its id, which the commands behind it may use."""
        return self._add(*operations.create_session(name, working_dir, id=id, status=status))

    def update_session(
        self,
        id: str,
        *,
        name: str | None = None,
        status: str | None = None,
        working_dir: str | None = None,
    ) -> None:
        """Change what is given, and `updated_at`."""
        self._add(*operations.update_session(id, name=name, status=status, working_dir=working_dir))

    def update_session_status(self, id: str, status: str) -> None:
        """Change the status, and `updated_at`."""
        self.update_session(id, status=status)

    def delete_session(self, id: str) -> None:
        """Delete a session with its messages."""
        self._add(*operations.delete_session(id))

    def append_message(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        id: str | None = None,
        timestamp: str | None = None,
    ) -> str:
        """Add a message at the end of a session. Returns its id."""
        # The shortest name first: in this order the daemon makes its digest of a transaction.
        args = {"id": new_id() if id is None else id, "role": role, "content": content}
        if timestamp is not None:
            args["timestamp"] = timestamp
        args["session_id"] = session_id
        return self._add("message.append", args)

    def update_message(self, id: str, content: str) -> None:
        """Set a message's content; it keeps its place."""
        self._add(*operations.update_message(id, content))

    def delete_message(self, id: str) -> None:
        """Delete a message."""
        self._add(*operations.delete_message(id))

    def _open(self) -> None:
        if self._is_open or self._is_over:
            raise LuludbError("this transaction was used before; begin a new one", code="closed")
        self._is_open = True

    def _close(self) -> None:
        self._is_open = False
        self._is_over = True

    def _add(self, op: str, args: dict[str, Any], _: object = None) -> str:
        if not self._is_open:
            raise LuludbError(
                "this transaction is not open; its methods belong inside its `with`", code="closed"
            )
        commands = self._commands
        operations.check_transaction_length(len(commands) + 1)
        commands.append((op, args))
        return str(args["id"])


class Batch(Transaction):
    """A transaction of `Client`."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        if kind is None and self._commands:
            self.results = self._send(operations.transaction(self._commands))


class AsyncBatch(Transaction):
    """A transaction of `AsyncClient`."""

    def __init__(self, send: SendAsync) -> None:
        super().__init__()
        self._send = send

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        if kind is None and self._commands:
            self.results = await self._send(operations.transaction(self._commands))
