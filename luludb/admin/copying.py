"""Whole copies of a database: one state of it, in one file, checked.

A copy is made through SQLite's backup API. Nothing here ever opens the database's files itself:
closing a descriptor would drop every lock that this process has on them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import apsw

from luludb.errors import Busy, DiskFull, InvalidRequest, StartRefused, StorageFailed
from luludb.limits import (
    COPY_PAGES_MAX,
    READ_ATTEMPTS_MAX,
    READ_BUSY_TIMEOUT_MS,
    RETRY_PAUSE_S_MIN,
)
from luludb.tables import messages, meta, schema, sessions

_STEPS_BETWEEN_SIGNALS: Final = 100_000  # of SQLite's virtual machine
_NO_ROOM: Final = "the disk is full; free some space and try again"

Show = Callable[[str, int, int | None], None]
"""Shows how far it is: what is being done, how much of it is done, and the whole if known."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds; a file that luludb never wrote to has no `database_id`."""

    database_id: str | None
    last_rev: int
    sessions: int
    messages: int


@contextlib.contextmanager
def snapshot(path: Path, *, is_immutable: bool = False) -> Iterator[apsw.Connection]:
    """A connection that cannot write, and sees one state of `path` until the end of the `with`.

    Without a read transaction a copy begins anew at each commit, and never ends under writers.

    Args:
        path: of the database.
        is_immutable: the file has no log and nobody writes to it. SQLite then leaves no files
            beside it and needs no right to make them.

    Raises:
        apsw.Error: it cannot be read.
    """
    immutable = "&immutable=1" if is_immutable else ""
    uri = f"file:{quote(os.fsencode(path))}?mode=ro{immutable}"
    connection = _begun(uri)
    try:
        yield connection
    finally:
        connection.close()


def copy_pages(source: apsw.Connection, target: Path, *, show: Show, verb: str) -> None:
    """Copy the state that `source` sees to the new file `target`.

    The copy has rollback mode, so that it is one file and nothing beside it.

    Raises:
        apsw.Error: one of the two cannot be read or written.
    """
    connection = opened(target, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    with contextlib.closing(connection):
        # Nobody else opens it: no memory to share is needed, which a network disk does not have.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = OFF")  # it is synced when it is whole
        run_backup(source, connection, show=show, verb=verb)
        connection.execute("PRAGMA journal_mode = DELETE")


def run_backup(source: apsw.Connection, target: apsw.Connection, *, show: Show, verb: str) -> None:
    """Make `target` what `source` is, in one transaction of SQLite's backup API.

    Raises:
        apsw.Error: one of the two cannot be read or written; `target` is what it was.
    """
    with target.backup("main", source, "main") as copy:
        while not copy.done:
            copy.step(COPY_PAGES_MAX)
            show(verb, copy.page_count - copy.remaining, copy.page_count)


def damage_of(path: Path, *, show: Show) -> str | None:
    """What SQLite's own check finds first in a file that nobody else writes to; None if nothing."""
    show("checking", 0, None)
    with contextlib.closing(opened(path, apsw.SQLITE_OPEN_READONLY)) as connection:
        try:
            verdict = str(connection.execute("PRAGMA integrity_check(1)").get)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            return str(error)
    return None if verdict == "ok" else verdict


def contents_of(connection: apsw.Connection, *, name: str) -> Contents:
    """What a file holds that could be a `lulu.db` as it stands.

    Raises:
        InvalidRequest: it could not; `name` is what the message calls it.
    """
    try:
        schema.check_is_whole(connection, name=name)
    except StartRefused as error:
        raise InvalidRequest(error.message) from error
    has_meta = schema.read_version(connection) > 0
    return Contents(
        database_id=str(meta.read(connection, "database_id")) if has_meta else None,
        last_rev=int(meta.read(connection, "last_rev")) if has_meta else 0,
        sessions=sessions.count(connection),
        messages=messages.count(connection),
    )


def opened(path: Path | str, flags: int) -> apsw.Connection:
    """A connection whose file can do no more than fail, and which Ctrl-C ends."""
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(READ_BUSY_TIMEOUT_MS)
        # A file from elsewhere may be damaged or hostile (sqlite.org/security.html).
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        # Python sees a signal only where some of its code runs.
        connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Turn what SQLite or the system says of a disk into an error that says what was being done.

    Raises:
        DiskFull: there was no room.
        Busy: another program held a lock.
        StorageFailed: the disk, or what is on it, is damaged.
        OSError: it is of another kind, such as a lack of permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"{doing}: {_NO_ROOM}") from error
        if error.errno == errno.EIO:
            raise StorageFailed(f"{doing}: {error}") from error
        raise
    except apsw.FullError as error:
        raise DiskFull(f"{doing}: {_NO_ROOM}") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise Busy(
            f"{doing}: another program holds the lock for more than {READ_BUSY_TIMEOUT_MS} ms;"
            " end it, or try again later"
        ) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StorageFailed(
            f"{doing}: {error}; restore a backup, or move it away and have"
            " `luludb import` read past the damage (docs/operations.md, Last resort)"
        ) from error
    except apsw.Error as error:
        raise StorageFailed(f"{doing}: {error}; look at the disk and its free space") from error


def _begun(uri: str) -> apsw.Connection:
    pause_s = RETRY_PAUSE_S_MIN
    for attempt in range(1, READ_ATTEMPTS_MAX + 1):
        connection = opened(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            connection.execute("BEGIN")
            schema.read_version(connection)
        except (apsw.BusyError, apsw.IOError, apsw.CantOpenError):
            # They pass by themselves while a log is recovered, or comes or goes.
            connection.close()
            if attempt == READ_ATTEMPTS_MAX:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
        time.sleep(pause_s)
        pause_s *= 2
    raise AssertionError("the last attempt returns or raises")
