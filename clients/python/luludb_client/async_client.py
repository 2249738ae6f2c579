"""The client for asyncio: the methods of `Client`, as coroutines and asynchronous iterators."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from luludb.errors import LuludbError
from luludb.home import find_home
from luludb.limits import CLIENT_TIMEOUT_S
from luludb.model import Message, Session
from luludb_client import async_control, operations
from luludb_client.async_link import AsyncLink
from luludb_client.async_watcher import AsyncWatch
from luludb_client.batch import AsyncBatch
from luludb_client.feed import Feed
from luludb_client.link import closed_error
from luludb_client.offload import Offload
from luludb_client.operations import Operation, check_timeout, pack
from luludb_client.outcomes import copy_of
from luludb_client.replica import Replica
from luludb_client.starting import have_daemon

Result = TypeVar("Result")


class AsyncClient:
    """What `Client` is, for the tasks of one event loop, which may all share one of these.

    Each method does what the method of that name of `Client` does, with its arguments, results
    and errors. The commands of tasks that run in the same turn of the loop go out together. Reads
    are made in threads of this client's own. Nothing is opened before it is needed; `close`, or
    the end of `async with`, leaves no thread, task or socket.

    A task that is cancelled, as by `asyncio.timeout`, waits no longer. Its command is not applied
    if it was not sent yet; else it may have been applied, or still be, once and in its place.

    Args:
        home: the directory; else `LULUDB_HOME`, else the user's data directory.
        timeout_s: no call waits longer.
        start: whether the first write starts a daemon in the background where none runs, as
            `luludb start` does.

    Raises:
        InvalidRequest: `timeout_s` is no number above 0.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        timeout_s: float = CLIENT_TIMEOUT_S,
        start: bool = False,
    ) -> None:
        self._link: AsyncLink | None = None
        self._home = find_home(home)
        self._timeout_s = check_timeout(timeout_s)
        self._start = start
        self._is_closed = False
        self._starting: asyncio.Future[None] | None = None  # what the tasks share that need it
        self._offload = Offload()
        self._replica = Replica(self._home, self._timeout_s)
        self._watches: weakref.WeakSet[AsyncWatch] = weakref.WeakSet()

    @property
    def home(self) -> Path:
        """The directory that this client works on."""
        return self._home.path

    # Sessions.

    async def create_session(
        self, name: str, working_dir: str, *, id: str | None = None, status: str = "created"
    ) -> Session:
        """Add a session.

        Raises:
            AlreadyExists: the id is taken; one who sends its own id again may take it for done.
        """
        return await self._write(operations.create_session(name, working_dir, id=id, status=status))

    async def get_session(self, id: str) -> Session | None:
        """The session of that id, or None."""
        return await self._read(partial(self._replica.get_session, id))

    async def list_sessions(
        self,
        *,
        status: str | None = None,
        working_dir: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Session]:
        """Sessions by (created_at, id), the newest first; `after` is the id of the last one seen.

        Raises:
            NotFound: there is no session of the id `after`.
        """
        return await self._read(
            lambda: self._replica.list_sessions(
                status=status, working_dir=working_dir, limit=limit, after=after
            )
        )

    async def update_session(
        self,
        id: str,
        *,
        name: str | None = None,
        status: str | None = None,
        working_dir: str | None = None,
    ) -> Session:
        """Change what is given, and `updated_at`.

        Raises:
            NotFound: there is no such session.
        """
        return await self._write(
            operations.update_session(id, name=name, status=status, working_dir=working_dir)
        )

    async def update_session_status(self, id: str, status: str) -> Session:
        """Change the status, and `updated_at`.

        Raises:
            NotFound: there is no such session.
        """
        return await self.update_session(id, status=status)

    async def delete_session(self, id: str) -> int:
        """Delete a session with its messages. Returns how many messages that were.

        Raises:
            NotFound: there is no such session.
        """
        return await self._write(operations.delete_session(id))

    # Messages.

    async def append_message(
        self,
        session_id: str,
        role: str,
        content: str,
        *,
        id: str | None = None,
        timestamp: str | None = None,
        durability: str | None = None,
    ) -> Message:
        """Add a message at the end of a session. `durability="full"` survives power loss too.

        Raises:
            NotFound: there is no such session.
            AlreadyExists: the id is taken; one who sends its own id again may take it for done.
        """
        operation = operations.append_message(session_id, role, content, id, timestamp)
        return await self._write(operation, durability)

    async def update_message(self, id: str, content: str) -> Message:
        """Set a message's content; it keeps its place.

        Raises:
            NotFound: there is no such message.
        """
        return await self._write(operations.update_message(id, content))

    async def delete_message(self, id: str) -> None:
        """Delete a message.

        Raises:
            NotFound: there is no such message.
        """
        await self._write(operations.delete_message(id))

    async def get_message(self, id: str) -> Message | None:
        """The message of that id, or None."""
        return await self._read(partial(self._replica.get_message, id))

    async def list_messages(
        self,
        session_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> AsyncIterator[Message]:
        """A session's messages in the order in which they were appended; none of an unknown one.

        An asynchronous generator: it raises its errors at its first step, and a task that is
        cancelled inside it ends it.

        Args:
            session_id: whose messages.
            after: the id of a message; those behind it are given.
            limit: at most that many.
            last: only the last so many; not together with `after`.

        Raises:
            NotFound: `after` is not a message of this session.
            InvalidRequest: `last` with `after`, or a number below 1.
        """
        pages = await self._read(
            lambda: self._replica.pages_of_messages(session_id, after=after, limit=limit, last=last)
        )
        while page := await self._read(lambda: next(pages, None)):
            for message in page:
                yield message

    # Several at once.

    def transaction(self, *, durability: str | None = None) -> AsyncBatch:
        """For `async with`: it has the writing methods; they are sent as one command at its end.

        Those methods only collect, so they are called without `await`. All are applied or none is.
        An exception inside sends nothing.
        """
        operations.check_durability(durability)
        self._check_open()
        return AsyncBatch(lambda operation: self._write(operation, durability))

    async def submit(
        self, op: str, /, *, durability: str | None = None, **args: Any
    ) -> asyncio.Future[dict[str, Any]]:
        """Send a command without waiting for its reply. Returns the future of the reply's body.

        Commands are applied in the order of the calls. Waits while 256 are on their way. One whose
        future is cancelled is applied all the same.
        """
        operation = operations.free_operation(op, args)
        link = self._link_here() or await self._new_link()
        return await link.submit(pack(operation, durability), self._timeout_s)

    async def flush(self) -> None:
        """Wait until everything submitted is decided; each future has its outcome."""
        link = self._link_here()
        if link is not None:
            await link.flush(self._timeout_s)

    # Changes.

    def watch(self, session_id: str | None = None, *, after_rev: int | None = None) -> AsyncWatch:
        """Each change as it is committed, in order and without gaps; of one session or of all.

        An asynchronous iterator. It needs no daemon, and goes on across restarts of it. `close()`
        of it or of the client ends it; so does an error, and no cancellation.

        Args:
            session_id: whose changes; an unknown session has none so far.
            after_rev: the rev behind which to begin, such as that of the last change seen; 0 is
                the oldest change kept, and None begins with what is committed after this call.

        Raises:
            InvalidRequest: an argument is of another type, or after_rev is below 0.
            ChangesPruned: from `anext()`: the changes to come next are no longer kept.
            DataLoss: from `anext()`: the database is another one, or lacks changes that were seen.
        """
        self._check_open()
        feed = Feed(session_id, after_rev)
        watch = AsyncWatch(self._home, feed, self._timeout_s, self._offload)
        self._watches.add(watch)
        return watch

    # The daemon.

    async def ping(self) -> dict[str, Any]:
        """Ask the daemon for an answer; its body is empty.

        Raises:
            DaemonUnavailable: at once where no daemon listens, else after the timeout.
        """
        self._check_open()
        return await async_control.ask(self._home, "ping", self._timeout_s)

    async def status(self) -> dict[str, Any]:
        """The daemon's figures.

        Raises:
            DaemonUnavailable: at once where no daemon listens, else after the timeout.
        """
        self._check_open()
        return await async_control.ask(self._home, "status", self._timeout_s)

    async def close(self) -> None:
        """Wait for what was submitted, up to the timeout, and give everything back.

        What was sent and has no answer by then ends as OutcomeUnknown, what was never sent as
        DaemonUnavailable. A client whose loop is closed may be closed in another one.
        """
        link = self._link
        if link is not None and _is_elsewhere(link):
            raise _other_loop_error()
        self._is_closed = True
        for watch in list(self._watches):
            watch.close()
        try:
            if link is not None and link.pid == os.getpid() and not link.loop.is_closed():
                await link.close(self._timeout_s)
            elif link is not None:
                link.let_go()
        finally:
            self._replica.close()
            await self._offload.close()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self, warn: Callable[..., None] = warnings.warn) -> None:
        link = self._link
        if link is None or link.is_closed:
            return
        if link.pid != os.getpid():
            link.let_go()
            return
        # The loop refers to what it watches, so nothing else would ever close the socket.
        warn(f"unclosed AsyncClient of {self._home.path}", ResourceWarning, source=self)
        if not link.loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it was closed in between
                link.loop.call_soon_threadsafe(link.end)  # the collector runs in any thread
                return
        link.let_go()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an AsyncClient holds a connection and cannot be pickled;"
            " give the other process its home, and let it make a client of its own"
        )

    # Below.

    async def _write(self, operation: Operation[Result], durability: str | None = None) -> Result:
        link = self._link_here() or await self._new_link()
        body = await link.call(pack(operation, durability), self._timeout_s)
        _, args, read = operation
        return read(body, args)

    async def _read(self, read: Callable[[], Result]) -> Result:
        self._check_open()
        return await self._offload.run(read)

    def _link_here(self) -> AsyncLink | None:
        """The link of the running loop, where there is one already."""
        self._check_open()
        link = self._link
        if link is not None and link.loop is not asyncio.get_running_loop():
            if link.pid == os.getpid():
                raise _other_loop_error()
            link.let_go()
            self._link = link = None
        return link

    async def _new_link(self) -> AsyncLink:
        if self._start:
            await self._have_daemon()
            self._check_open()
        if self._link is None:
            self._link = AsyncLink(self._home, asyncio.get_running_loop())
        return self._link

    async def _have_daemon(self) -> None:
        """Wait for a daemon that one thread starts for all tasks."""
        starting = self._starting
        if starting is None or starting.get_loop() is not asyncio.get_running_loop():
            deadline_s = time.monotonic() + self._timeout_s
            starting = self._offload.begin(partial(have_daemon, self._home, deadline_s))
            starting.add_done_callback(self._started)
            self._starting = starting
        await asyncio.wait([starting])  # unlike an await of it, no cancelled task cancels it
        error = starting.exception()
        if isinstance(error, LuludbError):
            raise copy_of(error)
        starting.result()

    def _started(self, starting: asyncio.Future[None]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # taken, as perhaps no task waits for it any more

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed_error()


def _is_elsewhere(link: AsyncLink) -> bool:
    """Whether a link of this process belongs to another loop, which may go on."""
    return (
        link.pid == os.getpid()
        and not link.loop.is_closed()
        and link.loop is not asyncio.get_running_loop()
    )


def _other_loop_error() -> LuludbError:
    return LuludbError(
        "this AsyncClient belongs to another event loop; make one in this loop", code="closed"
    )
