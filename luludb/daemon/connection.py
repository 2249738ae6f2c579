"""The write connection: how `lulu.db` is opened, and one function a setting with its reason."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable

import apsw

from luludb.daemon.guards import heed_failure
from luludb.errors import StartRefused, StorageFailed
from luludb.home import Home
from luludb.limits import (
    JOURNAL_BYTES_KEPT_MAX,
    LOCK_FORGOTTEN_S,
    LOCK_RETRY_MS_MAX,
    LOCK_WAIT_AGAIN_MS_MAX,
    LOCK_WAIT_LOGGED_MS,
    LOCK_WAIT_MS_MAX,
)
from luludb.platform import (
    WRITE_LOCK_BYTE,
    described_process,
    lock_holders,
    machine_boot_id,
)
from luludb.tables import meta, schema

SQLITE_VERSION_MIN = (3, 51, 3)

_log = logging.getLogger(__name__)


class LockWait:
    """SQLite's busy handler: waits for another program's lock in Python, so that signals are seen.

    Attributes:
        patient: whether to wait at all; a checkpoint does not wait for readers.
        waits_total: how often a lock had to be waited for.
    """

    def __init__(self, home: Home, stop_requested: Callable[[], bool]) -> None:
        self.patient = True
        self.waits_total = 0
        self._home = home
        self._stop_requested = stop_requested
        self._started_s = 0.0
        self._wait_ms = LOCK_WAIT_MS_MAX
        self._gave_up_s = -float(LOCK_FORGOTTEN_S)
        self._logged = False

    def __call__(self, attempt: int) -> bool:
        """Wait a little. Returns whether SQLite shall try again."""
        if not self.patient:
            return False
        if attempt == 0:
            self.waits_total += 1
            self._started_s = time.monotonic()
            self._logged = False
            # Who was refused sends again at once. Another full wait each time would leave no
            # moment for anything else, hello and ping too.
            kept = self._started_s - self._gave_up_s < LOCK_FORGOTTEN_S
            self._wait_ms = LOCK_WAIT_AGAIN_MS_MAX if kept else LOCK_WAIT_MS_MAX
        waited_ms = (time.monotonic() - self._started_s) * 1000
        if waited_ms >= LOCK_WAIT_LOGGED_MS and not self._logged:
            self._logged = True
            _log.warning(
                "%s holds the write lock of %s; commands wait for it",
                self._holder(),
                self._home.database,
            )
        if waited_ms >= self._wait_ms or self._stop_requested():
            self._gave_up_s = time.monotonic()
            if self._logged:
                _log.warning(
                    "gave up waiting for the write lock after %d ms; commands that come are"
                    " answered as busy until it is free",
                    waited_ms,
                    extra={"fields": {"event": "lock_wait", "waited_ms": round(waited_ms)}},
                )
            return False
        time.sleep(min(attempt + 1, LOCK_RETRY_MS_MAX) / 1000)
        return True

    def _holder(self) -> str:
        holders = lock_holders(self._home.shared_memory, WRITE_LOCK_BYTE, WRITE_LOCK_BYTE)
        return ", ".join(map(described_process, holders)) or "another program"


def open_database(home: Home, lock_wait: LockWait) -> apsw.Connection:
    """Open `lulu.db` for writing, make or migrate its tables, and make what was there durable.

    Raises:
        StartRefused: SQLite is too old, or the file cannot be luludb's.
        StorageFailed: the disk failed.
    """
    check_sqlite_version(apsw.sqlite_lib_version())
    try:
        connection = apsw.Connection(str(home.database))
    except apsw.Error as error:
        raise StartRefused(f"{home.database} cannot be opened: {error}") from error
    try:
        connection.set_busy_handler(lock_wait)
        _harden(connection)
        # Before the journal mode, or anything else in a file that is not luludb's, is changed.
        schema.check_is_ours(connection)
        _prepare_new_file(connection)
        _use_write_ahead_log(connection)
        _checkpoint_by_hand(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        set_synchronous(connection, full=True)
        heed_failure(connection, home)
        _migrate_durably(connection)
    except apsw.BusyError as error:
        connection.close()
        raise StartRefused(
            f"{home.database} is locked by another program for more than {LOCK_WAIT_MS_MAX} ms;"
            " end the programs that write to it, or have them use luludb"
        ) from error
    except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError, apsw.ReadOnlyError) as error:
        connection.close()
        raise StartRefused(
            f"{home.database} is not a database that luludb can use: {error};"
            " look at it with `sqlite3`, or restore a backup"
        ) from error
    except apsw.FullError as error:
        connection.close()
        raise StartRefused(
            f"{home.database}: there is no room to write; free some space"
        ) from error
    except (apsw.IOError, apsw.CantOpenError) as error:
        connection.close()
        if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE:
            raise StartRefused(
                f"{home.shared_memory} cannot be extended, most often because the disk is full;"
                " free some space"
            ) from error
        raise StorageFailed(f"{home.database}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_sqlite_version(version: str) -> None:
    """Refuse a SQLite inside the range of the WAL-reset corruption bug.

    sqlite.org/wal.html#walresetbug: 3.7.0 to 3.51.2.

    Raises:
        StartRefused: it is too old.
    """
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_VERSION_MIN:
        least = ".".join(map(str, SQLITE_VERSION_MIN))
        raise StartRefused(
            f"SQLite is {version}; the least is {least}, since older ones can corrupt a database in"
            " WAL mode. Upgrade apsw: pip install --upgrade apsw"
        )


def set_synchronous(connection: apsw.Connection, *, full: bool) -> None:
    """Choose what the next transaction's COMMIT waits for. Must be called between transactions."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")


def _harden(connection: apsw.Connection) -> None:
    """Keep a damaged or hostile schema from doing more than failing. sqlite.org/security.html."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    # A mapped file lets a stray pointer write into it, and turns an I/O error into SIGBUS.
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")


def _prepare_new_file(connection: apsw.Connection) -> None:
    """auto_vacuum takes effect only where it is set before the first table and before WAL."""
    if schema.is_empty(connection):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _use_write_ahead_log(connection: apsw.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").get
    if mode != "wal":
        raise StartRefused(
            f"lulu.db cannot use a write-ahead log here (journal mode stays {mode});"
            " put the home on a local file system"
        )
    # Readers in a directory that they cannot write to need -wal and -shm to exist.
    persist = ctypes.c_int(1)
    connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(persist))
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_KEPT_MAX}")


def _checkpoint_by_hand(connection: apsw.Connection) -> None:
    """The automatic checkpoint hides a failing fsync; one of our own raises."""
    connection.wal_autocheckpoint(0)
    # Closing would checkpoint too, and after a failed sync nothing may touch the file any more.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def _migrate_durably(connection: apsw.Connection) -> None:
    """Migrate, and commit at FULL even where there is nothing to migrate.

    After kill -9 the newest commits may lie in the page cache alone, and a repeated reply that
    says `full` would be false until something syncs the log.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema.migrate(connection)
        meta.write(connection, "starts", int(meta.read(connection, "starts") or 0) + 1)
        meta.write(connection, "machine_boot_id", machine_boot_id())
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
