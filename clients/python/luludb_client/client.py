"""The blocking client: the methods that users call."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from luludb.home import find_home
from luludb.limits import CLIENT_TIMEOUT_S
from luludb.model import Message, Session
from luludb_client import control, operations
from luludb_client.batch import Batch
from luludb_client.feed import Feed
from luludb_client.link import Link, closed_error
from luludb_client.operations import Operation, check_timeout, pack
from luludb_client.replica import Replica
from luludb_client.starting import have_daemon
from luludb_client.watcher import Watch

Result = TypeVar("Result")

_pid = os.getpid()  # noted, since asking is a system call for each command


def _note_pid() -> None:
    global _pid  # noqa: PLW0603  # it is the process's
    _pid = os.getpid()


os.register_at_fork(after_in_child=_note_pid)


class Client:
    """Reads and writes one home's `lulu.db`. Thread-safe, and of use in a forked child too.

    Reads open the file and need no daemon. Writes go to the daemon and return when they are
    committed; without one they wait up to the timeout. Nothing is opened before it is needed.

    A signal handler may raise in the middle of a call, as KeyboardInterrupt does, and the client is
    still of use. One that writes itself needs a client of its own.

    Args:
        home: the directory; else `LULUDB_HOME`, else the user's data directory.
        timeout_s: no call waits longer.
        start: whether the first write starts a daemon in the background where none runs, as
            `luludb start` does. One that ends later is not started again by this client.

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
        self._home = find_home(home)
        self._timeout_s = check_timeout(timeout_s)
        self._start = start
        self._is_closed = False
        self._links: dict[int, Link] = {}  # by pid: a forked child finds none of its own
        self._replica = Replica(self._home, self._timeout_s)
        self._watches: weakref.WeakValueDictionary[int, Watch] = weakref.WeakValueDictionary()

    @property
    def home(self) -> Path:
        """The directory that this client works on."""
        return self._home.path

    # Sessions.

    def create_session(
        self, name: str, working_dir: str, *, id: str | None = None, status: str = "created"
    ) -> Session:
        """Add a session. Its id is made here, unless the caller brings one.

        Raises:
            AlreadyExists: the id is taken; one who sends its own id again may take it for done.
        """
        return self._write(operations.create_session(name, working_dir, id=id, status=status))

    def get_session(self, id: str) -> Session | None:
        """The session of that id, or None."""
        self._check_open()
        return self._replica.get_session(id)

    def list_sessions(
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
        self._check_open()
        return self._replica.list_sessions(
            status=status, working_dir=working_dir, limit=limit, after=after
        )

    def update_session(
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
        return self._write(
            operations.update_session(id, name=name, status=status, working_dir=working_dir)
        )

    def update_session_status(self, id: str, status: str) -> Session:
        """Change the status, and `updated_at`.

        Raises:
            NotFound: there is no such session.
        """
        return self.update_session(id, status=status)

    def delete_session(self, id: str) -> int:
        """Delete a session with its messages. Returns how many messages that were.

        Raises:
            NotFound: there is no such session.
        """
        return self._write(operations.delete_session(id))

    # Messages.

    def append_message(
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
        return self._write(operation, durability)

    def update_message(self, id: str, content: str) -> Message:
        """Set a message's content; it keeps its place.

        Raises:
            NotFound: there is no such message.
        """
        return self._write(operations.update_message(id, content))

    def delete_message(self, id: str) -> None:
        """Delete a message.

        Raises:
            NotFound: there is no such message.
        """
        self._write(operations.delete_message(id))

    def get_message(self, id: str) -> Message | None:
        """The message of that id, or None."""
        self._check_open()
        return self._replica.get_message(id)

    def list_messages(
        self,
        session_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        last: int | None = None,
    ) -> Iterator[Message]:
        """A session's messages in the order in which they were appended; none of an unknown one.

        Args:
            session_id: whose messages.
            after: the id of a message; those behind it are given.
            limit: at most that many.
            last: only the last so many; not together with `after`.

        Raises:
            NotFound: `after` is not a message of this session.
            InvalidRequest: `last` with `after`, or a number below 1.
        """
        self._check_open()
        return self._replica.list_messages(session_id, after=after, limit=limit, last=last)

    # Several at once.

    def transaction(self, *, durability: str | None = None) -> Batch:
        """A context manager with the writing methods; they are sent as one command at its end.

        All are applied or none is. An exception inside sends nothing.
        """
        operations.check_durability(durability)
        self._check_open()
        return Batch(lambda operation: self._write(operation, durability))

    def submit(
        self, op: str, /, *, durability: str | None = None, **args: Any
    ) -> Future[dict[str, Any]]:
        """Send a command without waiting for its reply. Returns the future of the reply's body.

        Commands are applied in the order of the calls. Waits while 256 are on their way.
        """
        operation = operations.free_operation(op, args)
        now_s = time.monotonic()
        link = self._links.get(_pid)
        if link is None or self._is_closed:
            link = self._link()
        return link.submit(pack(operation, durability), now_s, self._timeout_s)

    def flush(self) -> None:
        """Wait until everything submitted is decided; each future has its outcome."""
        self._link().flush(self._timeout_s)

    # Changes.

    def watch(self, session_id: str | None = None, *, after_rev: int | None = None) -> Watch:
        """Each change as it is committed, in order and without gaps; of one session or of all.

        It needs no daemon, and goes on across restarts of it. `close()` of it or of the client
        ends it, from any thread; so does an error.

        Args:
            session_id: whose changes; an unknown session has none so far.
            after_rev: the rev behind which to begin, such as that of the last change seen; 0 is
                the oldest change kept, and None begins with what is committed after this call.

        Raises:
            InvalidRequest: an argument is of another type, or after_rev is below 0.
            ChangesPruned: from `next()`: the changes to come next are no longer kept.
            DataLoss: from `next()`: the database is another one, or lacks changes that were seen.
        """
        self._check_open()
        feed = Feed(session_id, after_rev)
        watch = Watch(self._home, feed, self._timeout_s)
        self._watches[id(watch)] = watch
        if self._is_closed:  # by another thread in between
            watch.close()
        return watch

    # The daemon.

    def ping(self) -> dict[str, Any]:
        """Ask the daemon for an answer; its body is empty.

        Raises:
            DaemonUnavailable: at once where no daemon listens, else after the timeout.
        """
        self._check_open()
        return control.ask(self._home, "ping", self._timeout_s)

    def status(self) -> dict[str, Any]:
        """The daemon's figures.

        Raises:
            DaemonUnavailable: at once where no daemon listens, else after the timeout.
        """
        self._check_open()
        return control.ask(self._home, "status", self._timeout_s)

    def close(self) -> None:
        """Wait for what was submitted, up to the timeout, and give everything back.

        What was sent and has no answer by then ends as OutcomeUnknown, what was never sent as
        DaemonUnavailable.
        """
        self._is_closed = True
        for reference in self._watches.valuerefs():  # a copy: other threads may add and drop some
            watch = reference()
            if watch is not None:
                watch.close()
        link = self._links.get(_pid)
        if link is not None:
            link.close(self._timeout_s)
        self._let_go_inherited()
        self._replica.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Client holds a connection and cannot be pickled;"
            " give the other process its home, and let it make a Client of its own"
        )

    # Below.

    def _write(self, operation: Operation[Result], durability: str | None = None) -> Result:
        now_s = time.monotonic()
        link = self._links.get(_pid)
        if link is None or self._is_closed:
            link = self._link()
        body = link.call(pack(operation, durability), now_s, self._timeout_s)
        _, args, read = operation
        return read(body, args)

    def _link(self) -> Link:
        self._check_open()
        link = self._links.get(_pid)
        if link is None:
            if self._start:
                have_daemon(self._home, time.monotonic() + self._timeout_s)
            self._let_go_inherited()
            # Two threads may come here at once: setdefault lets one link win.
            new = Link(self._home)
            link = self._links.setdefault(_pid, new)
            if link is not new:
                new.let_go()
        return link

    def _let_go_inherited(self) -> None:
        for other in [other for other in self._links if other != _pid]:
            inherited = self._links.pop(other, None)
            if inherited is not None:
                inherited.let_go()

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed_error()
