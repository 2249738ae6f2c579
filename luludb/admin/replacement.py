"""The file that is to take the database's place: what a backup holds, checked and made ready."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from luludb.admin.aside import FILE_NAME
from luludb.admin.copying import (
    Contents,
    Show,
    contents_of,
    copy_pages,
    damage_of,
    opened,
    snapshot,
    storage_errors,
)
from luludb.errors import InvalidRequest
from luludb.home import Home
from luludb.ids import new_random_id
from luludb.platform import machine_boot_id
from luludb.tables import meta, schema

# sqlite.org/fileformat2.html, section 1.3: the magic, and the versions that say "has a log".
_MAGIC: Final = b"SQLite format 3\0"
_VERSIONS: Final = slice(18, 20)
_HAS_LOG: Final = b"\x02\x02"
_REFUSED: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, apsw.CantOpenError)
_OTHER_PAGES_NAME: Final = f"{FILE_NAME}-pages"


def check_source(home: Home, path: Path) -> None:
    """Refuse what is no SQLite file, or the database itself, before anything is made.

    Raises:
        InvalidRequest: it is such a file.
        OSError: it cannot be read.
    """
    if not _header(path).startswith(_MAGIC):
        raise InvalidRequest(
            f"{path} is no SQLite file; restore takes what luludb backup made, and luludb import"
            " takes JSON lines"
        )
    if home.database.exists() and path.samefile(home.database):
        raise InvalidRequest(f"{path} is the database itself; name a backup of it")


def make_ready(
    source: Path, directory: Path, *, page_bytes: int | None, show: Show
) -> tuple[Path, Contents]:
    """Make the file that the database is to become, of what `source` holds.

    Args:
        source: a backup, or a `lulu.db` that another program made.
        directory: where the file is made.
        page_bytes: the page size that the database has; None where it takes any.
        show: told how far it is.

    Raises:
        InvalidRequest: `source` is damaged, or could not be a `lulu.db`.
        DiskFull, StorageFailed: it cannot be copied.
    """
    ready = directory / FILE_NAME
    with storage_errors(f"{source} cannot be copied to {directory.parent}"):
        try:
            with snapshot(source, is_immutable=_is_alone(source)) as connection:
                copy_pages(connection, ready, show=show, verb="reading")
            damage = damage_of(ready, show=show)
            if damage is not None:
                raise InvalidRequest(f"{source} is damaged: {damage}; restore another backup")
            with closing(opened(ready, apsw.SQLITE_OPEN_READWRITE)) as connection:
                contents = _become_new(connection, source)
                return _with_page_size(connection, ready, page_bytes), contents
        except _REFUSED as error:
            raise InvalidRequest(f"{source} cannot be restored: {error}") from error


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_VERSIONS.stop)


def _is_alone(source: Path) -> bool:
    """Whether it is the file of a database with a log, without the log, as a plain copy is.

    Reading it in the common way SQLite would make a new log beside it, and leave it there.
    """
    has_log = source.with_name(source.name + "-wal").exists()
    return _header(source)[_VERSIONS] == _HAS_LOG and not has_log


def _become_new(connection: apsw.Connection, source: Path) -> Contents:
    """Bring the file to this version and give it an id of its own, in one transaction.

    An id that was given after the rows are in place would be missing after a kill in between,
    and clients that knew the old database would go on as if nothing had been lost.
    """
    contents_of(connection, name=str(source))
    connection.execute("BEGIN IMMEDIATE")
    schema.migrate(connection)
    meta.write(connection, "database_id", new_random_id())
    meta.write(connection, "machine_boot_id", machine_boot_id())  # it was checked just now
    connection.execute("COMMIT")
    return contents_of(connection, name=str(source))


def _with_page_size(connection: apsw.Connection, ready: Path, page_bytes: int | None) -> Path:
    """The backup API refuses another page size where the target has a log."""
    if page_bytes is None or page_bytes == connection.execute("PRAGMA page_size").get:
        return ready
    other = ready.with_name(_OTHER_PAGES_NAME)
    connection.execute(f"PRAGMA page_size = {page_bytes}")
    connection.execute("VACUUM INTO ?", (str(other),))
    return other
