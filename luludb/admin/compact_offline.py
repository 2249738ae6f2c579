"""Compact offline: the whole database written anew, when the daemon is stopped.

It also gives a file that another program made what it takes to be compacted while in use. It is
one transaction of SQLite's: whatever ends it leaves the old pages or the new ones, whole.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b

import apsw

from luludb.admin.copying import Contents, Show, contents_of, damage_of, storage_errors
from luludb.admin.restore import open_for_writing
from luludb.errors import Busy, DiskFull, NotFound, StartRefused, StorageFailed
from luludb.home import Home, locked, prepare_home
from luludb.limits import COMPACT_ROWS_SHOWN
from luludb.tables import schema
from luludb.times import now_text


@dataclass(frozen=True, slots=True)
class CompactedOffline:
    """The database as it was and as it is.

    Attributes:
        bytes_before: of the file and what was in its log.
        file_bytes: of the file now.
        is_copied_back: whether the file has all; not while some program reads an old state.
    """

    contents: Contents
    bytes_before: int
    file_bytes: int
    is_copied_back: bool


def compact_offline(home: Home, *, show: Show, tell: Callable[[str], None]) -> CompactedOffline:
    """Write every page of the database of `home` anew, without the free ones.

    Args:
        home: whose database.
        show: told how far it is.
        tell: told what was tightened in the home.

    Raises:
        NotFound: there is no database.
        StartRefused: a daemon runs on the home, or its storage failed before.
        DiskFull, Busy, InvalidRequest: it is as it was.
        StorageFailed: the disk failed, or the database is damaged.
        OSError: the home cannot be written to.
    """
    if not home.database.exists():
        raise NotFound(f"there is no database {home.database}; name its home with --home")
    for message in prepare_home(home):
        tell(message)
    with _alone(home):
        if home.failure.exists():
            raise StartRefused(
                f"storage failed last time, as {home.failure} says; start the daemon first, which"
                " checks the database: luludb serve"
            )
        bytes_before = home.database.stat().st_size
        _check_room(home)
        with storage_errors(f"{home.database} cannot be compacted, and holds what it held"):
            _refuse_damaged(home, show, "it was not touched")
            with closing(open_for_writing(home)) as connection:
                contents = contents_of(connection, name=str(home.database))
                is_copied_back = _write_anew(connection, home, show)
            _refuse_damaged(home, show, "restore a backup")
        return CompactedOffline(
            contents, bytes_before, home.database.stat().st_size, is_copied_back
        )


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(home, holder="compact"))
        except StartRefused as error:
            raise StartRefused(
                f"compact --offline needs the home for itself: {error.message}, or luludb stop"
            ) from error
        yield


def _check_room(home: Home) -> None:
    """Refuse early where the new pages would not fit: once aside, and once in the log."""
    found = (home.database, home.wal)
    needed_bytes = 2 * sum(path.stat().st_size for path in found if path.exists())
    free_bytes = shutil.disk_usage(home.path).free
    if needed_bytes > free_bytes:
        raise DiskFull(
            f"compact --offline needs {needed_bytes:,} bytes for a while, and {home.path} has"
            f" {free_bytes:,} free; free some space and try again"
        )


def _refuse_damaged(home: Home, show: Show, advice: str) -> None:
    damage = damage_of(home.database, show=show)
    if damage is not None:
        raise StorageFailed(f"{home.database} is damaged: {damage}; {advice}")


def _write_anew(connection: apsw.Connection, home: Home, show: Show) -> bool:
    """VACUUM, and compare every row. Returns whether the log could be copied back."""
    version = connection.execute("PRAGMA data_version").get
    before = _digest(connection, show, "reading")
    show("writing", 0, None)
    try:
        with _temporary_files_in(connection, home):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")
        after = _digest(connection, show, "comparing")
        if before != after:
            if connection.execute("PRAGMA data_version").get != version:
                raise Busy(
                    f"another program wrote to {home.database} meanwhile, so its rows cannot be"
                    " compared; end that program and run it again"
                )
            raise StorageFailed(
                f"the rows of {home.database} are not what they were; restore a backup"
            )
        return _copy_back(connection)
    except apsw.IOError as error:
        # What is on the disk is not what memory shows: the next start has to look.
        home.failure.write_text(f"{now_text()} compact: {error}\n", encoding="utf-8")
        raise


@contextlib.contextmanager
def _temporary_files_in(connection: apsw.Connection, home: Home) -> Iterator[None]:
    """VACUUM's copy goes where room was looked for; /tmp is often small, or in memory."""
    path = str(home.path).replace("'", "''")
    connection.execute(f"PRAGMA temp_store_directory = '{path}'")
    try:
        yield
    finally:
        connection.execute("PRAGMA temp_store_directory = ''")


def _copy_back(connection: apsw.Connection) -> bool:
    """Copy the log back, which makes the file shorter. Where someone reads, a start does it."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.FullError):
        return False
    return True


def _digest(connection: apsw.Connection, show: Show, verb: str) -> bytes:
    """Of every row, its rowid and its place."""
    digest = blake2b()
    for count, row in enumerate(schema.rows_in_order(connection)):
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
        if count % COMPACT_ROWS_SHOWN == 0:
            show(verb, count, None)
    return digest.digest()
