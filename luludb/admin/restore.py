"""Restore: a backup takes the place of what is in `lulu.db`, whole or not at all.

All that the database is to be is made ready in a file aside. Then one transaction of SQLite's
backup API writes it into the same `lulu.db`: before its COMMIT there is the old database and
after it the new one, whatever ends the process or the machine, and open readers see the new rows
at once. Only what SQLite cannot open at all is replaced as a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from luludb.admin.aside import FILE_NAME, directory_aside
from luludb.admin.copying import Contents, Show, opened, run_backup, storage_errors
from luludb.admin.replacement import check_source, make_ready
from luludb.errors import DiskFull, StartRefused, StorageFailed
from luludb.home import Home, locked, prepare_home
from luludb.platform import sync_to_disk, write_again
from luludb.times import now_text

_SAVED_NAME: Final = "lulu-before-restore-%Y%m%dT%H%M%S.%fZ.db"
_CANNOT_BE_OPENED: Final = (apsw.CorruptError, apsw.NotADBError)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored.

    Attributes:
        contents: what the database holds now.
        saved: the file with the old database; None where there was none.
        was_damaged: whether the old one was damaged, and saved as it was.
    """

    contents: Contents
    saved: Path | None
    was_damaged: bool


def restore(home: Home, source: str, *, show: Show, tell: Callable[[str], None]) -> Restored:
    """Put what the SQLite file `source` holds in the place of the database of `home`.

    Args:
        home: whose database; it is made if it is not there.
        source: a backup, or a `lulu.db` that another program made.
        show: told how far it is.
        tell: told what was tightened in the home.

    Raises:
        InvalidRequest: `source` is damaged, or could not be a `lulu.db`.
        StartRefused: a daemon runs on the home, or it cannot be used.
        DiskFull, Busy: the database is the old one.
        StorageFailed: the disk failed; the database is the old one or the new one, whole.
        OSError: `source` or the home cannot be read.
    """
    path = Path(os.path.realpath(source))
    check_source(home, path)
    for message in prepare_home(home):
        tell(message)
    with _alone(home), directory_aside(home.path) as directory:
        _check_room(home, path)
        with storage_errors(f"{home.database} cannot be read"):
            page_bytes = _page_bytes(home)
        ready, contents = make_ready(path, directory, page_bytes=page_bytes, show=show)
        show("saving", 0, None)
        with storage_errors(
            f"{home.database} cannot be saved, and was left as it is; to give it up, move it and"
            f" what is called {home.wal.name} away and restore again"
        ):
            saved, was_damaged = _save(home, directory)
        with storage_errors(
            f"{home.database} cannot be written for sure; it is whole, the old one or the new one"
        ):
            _replace(home, ready, show)
    return Restored(contents, saved, was_damaged)


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(home, holder="restore"))
        except StartRefused as error:
            raise StartRefused(f"a restore needs the home for itself: {error.message}") from error
        yield


def _check_room(home: Home, source: Path) -> None:
    """Refuse early where what is to be written would not fit."""
    new_bytes = _bytes_of(source, source.with_name(source.name + "-wal"))
    old_bytes = _bytes_of(home.database, home.wal)
    # The file made ready, its way through the log, the old one saved, and what it grows by.
    needed_bytes = 2 * new_bytes + new_bytes // 16 + old_bytes + max(0, new_bytes - old_bytes)
    free_bytes = shutil.disk_usage(home.path).free
    if needed_bytes > free_bytes:
        raise DiskFull(
            f"a restore needs {needed_bytes:,} bytes for a while, and {home.path} has"
            f" {free_bytes:,} free; free some space and try again"
        )


def _bytes_of(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


def _page_bytes(home: Home) -> int | None:
    """The page size of the database; None where there is none that SQLite can open."""
    if not _bytes_of(home.database):
        return None
    try:
        with closing(open_for_writing(home)) as connection:
            return int(connection.execute("PRAGMA page_size").get)
    except _CANNOT_BE_OPENED:
        return None


def open_for_writing(home: Home) -> apsw.Connection:
    """The database for writing, in WAL mode and with nothing copied back but by hand."""
    connection = opened(home.database, apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.wal_autocheckpoint(0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # of use on macOS only
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        # Readers in a directory that they cannot write to need the log to exist.
        persist = ctypes.c_int(1)
        connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(persist))
    except BaseException:
        connection.close()
        raise
    return connection


def _save(home: Home, directory: Path) -> tuple[Path | None, bool]:
    """Save the old database in the home, on the disk when this returns.

    Returns:
        Its file, None where there is nothing to save; and whether it is damaged.
    """
    if not _bytes_of(home.database):
        return None, False
    saved = home.path / datetime.now(UTC).strftime(_SAVED_NAME)
    copy = directory / f"{FILE_NAME}-old"
    was_damaged = not _copy_rows(home, copy)
    if was_damaged:
        # No connection of this process is open, whose locks reading the files would drop.
        shutil.copyfile(home.database, copy)
        if home.wal.exists():
            log = saved.with_name(saved.name + "-wal")
            shutil.copyfile(home.wal, log)
            sync_to_disk(log)
    sync_to_disk(copy)
    copy.rename(saved)
    sync_to_disk(home.path)
    return saved, was_damaged


def _copy_rows(home: Home, copy: Path) -> bool:
    """Copy every row into one new file. Returns False where damage keeps from it."""
    try:
        with closing(open_for_writing(home)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
    except (*_CANNOT_BE_OPENED, apsw.ConstraintError, apsw.SQLError):
        copy.unlink(missing_ok=True)
        return False
    return True


def _replace(home: Home, ready: Path, show: Show) -> None:
    """Make the database what `ready` is. It is durable when this returns."""
    try:
        connection = open_for_writing(home) if _bytes_of(home.database) else None
    except _CANNOT_BE_OPENED:
        connection = None
    if connection is None:
        _put_in_place(home, ready)
        home.failure.unlink(missing_ok=True)
    else:
        with closing(connection):
            _write_durably(connection, home, ready, show)
    try:
        sync_to_disk(home.path)
    except OSError as error:  # without room too: what was written may not last
        raise StorageFailed(
            f"{home.path} cannot be synced: {error.strerror}; {home.database} is the new one, and"
            " with a loss of power may be the old one again"
        ) from error


def _put_in_place(home: Home, ready: Path) -> None:
    """Let the file itself be the database, where nobody can have the old one open."""
    sync_to_disk(ready)
    for beside in (home.wal, home.shared_memory):
        beside.unlink(missing_ok=True)
    # An old log beside the new file would be replayed over it: it must be gone for good first.
    sync_to_disk(home.path)
    ready.rename(home.database)


def _write_durably(connection: apsw.Connection, home: Home, ready: Path, show: Show) -> None:
    """Write `ready` over the database. A note that storage failed is lifted where that is over."""
    try:
        if home.failure.exists():
            _write_log_again(connection, home)
        with closing(opened(ready, apsw.SQLITE_OPEN_READONLY)) as source:
            run_backup(source, connection, show=show, verb="writing")
        if not _is_copied_back(connection):
            return
    except apsw.IOError as error:
        # What is on the disk is not what memory shows: the next start has to look.
        home.failure.write_text(f"{now_text()} restore: {error}\n", encoding="utf-8")
        raise
    home.failure.unlink(missing_ok=True)  # every page was written anew and synced


def _is_copied_back(connection: apsw.Connection) -> bool:
    """Copy the log back. Where someone reads, or there is no room, it is safe in the log."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.FullError):
        return False
    return True


def _write_log_again(connection: apsw.Connection, home: Home) -> None:
    """Close the holes that a log may have on the disk after a failure, where memory hides them.

    What is written behind one would be lost with the power, although its sync succeeded.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        write_again(home.wal)
    finally:
        connection.execute("ROLLBACK")
