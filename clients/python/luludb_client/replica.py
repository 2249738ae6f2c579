"""Reads: the home's `lulu.db` through read-only connections of this process's own.

A connection in `mode=ro` can neither write nor checkpoint, and needs no daemon. The connections
are opened anew when the daemon was started anew or the file is another one.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import quote

from luludb.errors import Busy, DaemonUnavailable, InvalidRequest, LuludbError, NotFound
from luludb.home import Home, refuse_closed
from luludb.limits import (
    INTEGER_MAX,
    READ_ATTEMPTS_MAX,
    READ_BUSY_TIMEOUT_MS,
    READ_CONNECTIONS_IDLE_MAX,
    READ_PAGE_BYTES_MAX,
    READ_PAGE_ROWS_MAX,
    RETRY_PAUSE_S_MIN,
)
from luludb.model import Change, Message, Session
from luludb.tables import Connection, changes, messages, sessions
from luludb_client.channel import start_advice
from luludb_client.look import Look, read_look
from luludb_client.operations import check_text

Result = TypeVar("Result")
_Identity = tuple[int, ...]
_NOT_UTF_8 = "Could not decode to UTF-8"
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Replica:
    """The reading side of a client. Thread-safe: each read has a connection to itself.

    Args:
        home: whose `lulu.db`.
        timeout_s: no read waits longer for a lock, such as that of a recovery.
    """

    def __init__(self, home: Home, timeout_s: float) -> None:
        self._home = home
        self._timeout_s = timeout_s
        self._busy_timeout_s = min(READ_BUSY_TIMEOUT_MS / 1000, timeout_s / READ_ATTEMPTS_MAX)
        self._pid = os.getpid()
        self._idle: deque[tuple[_Identity, sqlite3.Connection]] = deque()
        self._inherited: list[deque[tuple[_Identity, sqlite3.Connection]]] = []
        self._is_closed = False

    def get_session(self, id: str) -> Session | None:
        """The session of that id, or None."""
        check_text("id", id)
        return self._read(lambda connection: sessions.get(connection, id))

    def get_message(self, id: str) -> Message | None:
        """The message of that id, or None."""
        check_text("id", id)
        return self._read(lambda connection: messages.get(connection, id))

    def sessions_of(self, ids: Sequence[str]) -> list[Session]:
        """Those sessions of `ids` that there are."""
        return [
            session
            for page in _pages_of(ids)
            for session in self._read(_several_reader(sessions.get_several, page))
        ]

    def messages_of(self, ids: Sequence[str]) -> list[Message]:
        """Those messages of `ids` that there are."""
        return [
            message
            for page in _pages_of(ids)
            for message in self._read(_several_reader(messages.get_several, page))
        ]

    def list_sessions(
        self, *, status: str | None, working_dir: str | None, limit: int, after: str | None
    ) -> list[Session]:
        """Sessions by (created_at, id) descending, behind the session of the id `after`.

        Raises:
            NotFound: there is no session of the id `after`.
            InvalidRequest: an argument is of another type, or limit is below 1.
        """
        for name, value in (("status", status), ("working_dir", working_dir), ("after", after)):
            if value is not None:
                check_text(name, value)
        _check_count("limit", limit)

        def read(connection: sqlite3.Connection) -> list[Session]:
            cursor = None
            if after is not None:
                cursor = sessions.get(connection, after)
                if cursor is None:
                    raise NotFound(f"session {after} does not exist, so nothing is after it")
            return sessions.page(
                connection, status=status, working_dir=working_dir, after=cursor, limit=limit
            )

        return self._read(read)

    def list_messages(
        self, session_id: str, *, after: str | None, limit: int | None, last: int | None
    ) -> Iterator[Message]:
        """The messages of `pages_of_messages`, one by one."""
        pages = self.pages_of_messages(session_id, after=after, limit=limit, last=last)
        return chain.from_iterable(pages)

    def pages_of_messages(
        self, session_id: str, *, after: str | None, limit: int | None, last: int | None
    ) -> Iterator[list[Message]]:
        """A session's messages in append order, by pages, each read when it is asked for.

        Raises:
            NotFound: `after` is not a message of this session.
            InvalidRequest: `last` with `after`, a number below 1, or another type.
        """
        check_text("session_id", session_id)
        for name, value in (("limit", limit), ("last", last)):
            if value is not None:
                _check_count(name, value)
        if last is not None and after is not None:
            raise InvalidRequest("last and after do not go together; give one of them")
        place = None
        if after is not None:
            check_text("after", after)
            place = self._read(lambda connection: messages.place(connection, after, session_id))
            if place is None:
                raise NotFound(f"message {after} is not in session {session_id}")
        elif last is not None:
            place = self._read(
                lambda connection: messages.place_before_last(connection, session_id, last)
            )
            limit = last if limit is None else min(limit, last)
        return self._pages(session_id, place, limit)

    def all_sessions(self) -> Iterator[Session]:
        """Every session in rowid order, read page by page as they are asked for."""
        place = None
        while page := self._read(_sessions_reader(place)):
            for _, session in page:
                yield session
            place = page[-1][0]

    def count_orphans(self) -> int:
        """How many messages name a session that does not exist; other programs leave such."""
        return self._read(messages.count_orphans)

    def extent_of(self, session_id: str) -> tuple[int, int]:
        """How many messages a session has, and how many bytes their contents have."""
        return self._read(lambda connection: messages.extent(connection, session_id))

    def last_message_of(self, session_id: str) -> tuple[int, str, str] | None:
        """Rowid, id and timestamp of a session's last message, or None."""
        return self._read(lambda connection: messages.last(connection, session_id))

    def oldest_messages_of(
        self, session_id: str, *, after_rowid: int | None, rows_max: int
    ) -> list[tuple[int, str, int]]:
        """Rowid, id and bytes of content of a session's oldest messages behind a rowid."""
        return self._read(
            lambda connection: messages.sizes(
                connection, session_id, after_rowid=after_rowid, rows_max=rows_max
            )
        )

    def look(self, rev: int | None, session_id: str | None) -> Look:
        """The next changes behind `rev`, of a session or of all; None is the end of the feed.

        Raises:
            DaemonUnavailable: there is no database yet, or it has no change feed yet.
        """
        return self._read(lambda connection: read_look(connection, rev, session_id))

    def newest_changes(self, session_id: str | None, count: int) -> list[Change]:
        """The last `count` changes that are kept, of a session or of all, in order."""
        rows = self._read(
            lambda connection: changes.newest(connection, session_id=session_id, rows_max=count)
        )
        return [Change(*row) for row in rows]

    def read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `read`, a function of the tables' modules, gives on a read-only connection.

        It is called again where something that passes came in between, such as a recovery.

        Raises:
            DaemonUnavailable: there is no database yet, or it lacks a table.
        """
        return self._read(read)

    def close(self) -> None:
        """Close the connections; those in use are closed when they come back."""
        self._is_closed = True
        self._leave_inherited()
        while self._idle:
            self._idle.pop()[1].close()

    def _pages(
        self, session_id: str, place: int | None, limit: int | None
    ) -> Iterator[list[Message]]:
        left = limit
        while left is None or left > 0:
            rows_max = READ_PAGE_ROWS_MAX if left is None else min(left, READ_PAGE_ROWS_MAX)
            page = self._read(_page_reader(session_id, place, rows_max))
            if not page:
                return
            yield [message for _, message in page]
            place = page[-1][0]
            if left is not None:
                left -= len(page)

    # Connections.

    def _read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        deadline_s = time.monotonic() + self._timeout_s
        self._leave_inherited()
        pause_s = RETRY_PAUSE_S_MIN
        for attempt in range(1, READ_ATTEMPTS_MAX + 1):
            identity, connection = self._take()
            try:
                result = _read_any_text(connection, read)
            except sqlite3.DatabaseError as error:
                connection.close()
                # "locked" while a WAL is recovered, and "disk I/O error" and "no such table" while
                # files come or go, pass by themselves.
                is_passing = isinstance(error, sqlite3.OperationalError)
                if (
                    not is_passing
                    or attempt == READ_ATTEMPTS_MAX
                    or time.monotonic() + pause_s >= deadline_s
                ):
                    raise self._read_error(error) from error
            except BaseException:
                connection.close()
                raise
            else:
                self._give_back(identity, connection)
                return result
            time.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _take(self) -> tuple[_Identity, sqlite3.Connection]:
        identity = self._identity()
        while True:
            try:
                found, connection = self._idle.pop()
            except IndexError:
                return identity, self._open()
            if found == identity:
                return identity, connection
            connection.close()

    def _give_back(self, identity: _Identity, connection: sqlite3.Connection) -> None:
        if self._is_closed or len(self._idle) >= READ_CONNECTIONS_IDLE_MAX:
            connection.close()
            return
        self._idle.append((identity, connection))
        if self._is_closed:  # closed by another thread in between
            self.close()

    def _identity(self) -> _Identity:
        """What changes when the file is another one, or the daemon was started anew.

        `daemon.json` is renamed into its place at each start, so its inode and time stand for the
        boot_id in it, without reading it each time.
        """
        try:
            database = self._home.database.stat()
        except OSError as error:
            refuse_closed(self._home)
            raise DaemonUnavailable(
                f"there is no database yet: {self._home.database} cannot be read"
                f" ({error.strerror}). The daemon makes it; {start_advice(self._home)}"
            ) from error
        try:
            discovery = self._home.discovery.stat()
        except OSError:
            return database.st_dev, database.st_ino
        return (
            database.st_dev,
            database.st_ino,
            discovery.st_ino,
            discovery.st_mtime_ns,
            discovery.st_size,
        )

    def _open(self) -> sqlite3.Connection:
        uri = f"file:{quote(os.fsencode(self._home.database))}?mode=ro"
        try:
            return sqlite3.connect(
                uri,
                uri=True,
                timeout=self._busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.OperationalError as error:
            raise self._read_error(error) from error

    def _read_error(self, error: sqlite3.DatabaseError) -> LuludbError:
        path = self._home.database
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES:
            return Busy(f"{path} is locked: {error}")
        if "no such table" in str(error):
            return DaemonUnavailable(
                f"{path} has not been set up: {error}. The daemon does it;"
                f" {start_advice(self._home)}"
            )
        return LuludbError(f"{path} cannot be read: {error}")

    def _leave_inherited(self) -> None:
        # SQLite's connections do not survive a fork (sqlite.org/howtocorrupt.html, section 2.6):
        # a child neither uses nor closes them. They are kept, so that nothing closes them later.
        pid = os.getpid()
        if pid != self._pid:
            self._inherited.append(self._idle)
            self._idle = deque()
            self._pid = pid


def _read_any_text(
    connection: sqlite3.Connection, read: Callable[[sqlite3.Connection], Result]
) -> Result:
    """What `read` gives, also where another program left bytes that are not UTF-8 in a text.

    Such bytes are read as U+FFFD. It is tried only then: a function that decodes each text costs
    every read, and the daemon lets no such bytes in.
    """
    try:
        return read(connection)
    except sqlite3.OperationalError as error:
        if not str(error).startswith(_NOT_UTF_8):
            raise
    connection.text_factory = lambda stored: stored.decode("utf-8", "replace")
    try:
        return read(connection)
    finally:
        connection.text_factory = str


def _page_reader(
    session_id: str, place: int | None, rows_max: int
) -> Callable[[sqlite3.Connection], list[tuple[int, Message]]]:
    def read(connection: sqlite3.Connection) -> list[tuple[int, Message]]:
        return messages.page(
            connection,
            session_id,
            after_rowid=place,
            rows_max=rows_max,
            bytes_max=READ_PAGE_BYTES_MAX,
        )

    return read


def _sessions_reader(
    place: int | None,
) -> Callable[[sqlite3.Connection], list[tuple[int, Session]]]:
    return lambda connection: sessions.page_in_rowid_order(
        connection, after_rowid=place, limit=READ_PAGE_ROWS_MAX
    )


def _pages_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[at : at + READ_PAGE_ROWS_MAX] for at in range(0, len(ids), READ_PAGE_ROWS_MAX))


def _several_reader(
    read: Callable[[Connection, Sequence[str]], list[Result]], ids: Sequence[str]
) -> Callable[[sqlite3.Connection], list[Result]]:
    return lambda connection: read(connection, ids)


def _check_count(name: str, value: Any) -> None:
    if type(value) is not int or not 1 <= value <= INTEGER_MAX:
        raise InvalidRequest(f"{name} is {value!r}; allowed is 1 to {INTEGER_MAX}")
