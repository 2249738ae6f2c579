"""Backup: one state of the database in one file, while everyone writes, with or without a daemon.

The file gets its name when it is whole, checked and on the disk; whatever ends a backup before
that leaves what was there under that name.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from luludb.admin.aside import FILE_NAME, directory_aside
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
from luludb.errors import DiskFull, InvalidRequest, LuludbError, NotFound, StorageFailed
from luludb.home import Home
from luludb.platform import sync_to_disk

_NAME_WITH_TIME: Final = "lulu-%Y%m%dT%H%M%S.%fZ.db"  # such names sort by their time
_NAMED: Final = re.compile(r"lulu-\d{8}T\d{6}\.\d{6}Z\.db")
_FILE_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made.

    Attributes:
        removed: older backups that made room for it, oldest first.
    """

    file: Path
    file_bytes: int
    contents: Contents
    removed: Sequence[Path]


def back_up(home: Home, destination: str, *, keep: int | None, show: Show) -> Backup:
    """Copy the database of `home` to `destination`.

    Args:
        home: whose database.
        destination: a file, which is replaced; or a directory, where the file is named by the time.
        keep: of the files so named in that directory only the newest so many stay.
        show: told how far it is.

    Raises:
        NotFound: there is no database, or no such directory.
        InvalidRequest: `destination` cannot be a backup, or what is copied is no `lulu.db`.
        DiskFull: there is no room.
        StorageFailed: the database or the copy cannot be read, written, or is damaged.
        OSError: the directory cannot be written to.
    """
    if not home.database.exists():
        raise NotFound(
            f"there is no database {home.database} to back up; name its home with --home or"
            " LULUDB_HOME"
        )
    place = _place(destination)
    _refuse_to_overwrite(home, place)
    with directory_aside(place.parent) as directory:
        copy = directory / FILE_NAME
        with storage_errors(f"{home.database} cannot be copied to {place.parent}"):
            _copy(home, copy, show)
            contents = _checked(copy, home, show)
            copy.chmod(_FILE_MODE)
            file_bytes = copy.stat().st_size
            sync_to_disk(copy)
            _refuse_to_overwrite(home, place)
            copy.rename(place)
            sync_to_disk(place.parent)
    removed = [] if keep is None else _remove_older(place, keep)
    return Backup(place, file_bytes, contents, removed)


def _place(destination: str) -> Path:
    """The name of the new file. A symbolic link stays one: the file that it names is replaced."""
    path = Path(os.path.realpath(destination))
    if path.is_dir():
        return path / datetime.now(UTC).strftime(_NAME_WITH_TIME)
    if destination.endswith(os.sep) or not path.parent.is_dir():
        missing = path if destination.endswith(os.sep) else path.parent
        raise NotFound(f"there is no directory {missing}; make it first: mkdir -p {missing}")
    if path.exists() and not path.is_file():
        raise InvalidRequest(f"{path} is neither a file nor a directory; a backup is a file")
    return path


def _refuse_to_overwrite(home: Home, place: Path) -> None:
    """Refuse a place where a new file would destroy something, or be destroyed."""
    own = (home.database, home.wal, home.shared_memory, home.lock, home.settings, home.failure)
    if place in {Path(os.path.realpath(path)) for path in own}:
        raise InvalidRequest(f"{place} is luludb's own; choose another name for the backup")
    for end in ("-wal", "-shm", "-journal"):
        beside = place.with_name(place.name + end)
        if beside.exists():
            # SQLite would replay it over the new file (sqlite.org/howtocorrupt.html, section 4.4).
            raise InvalidRequest(
                f"{beside} is there: a program has {place} open, or died with it, and the backup"
                " would be damaged by what it left. Choose another name, or remove it"
            )


def _copy(home: Home, copy: Path, show: Show) -> None:
    with snapshot(home.database) as source:
        needed_bytes = _bytes_of(source)
        free_bytes = shutil.disk_usage(copy.parent).free
        if needed_bytes > free_bytes:
            raise DiskFull(
                f"the backup needs {needed_bytes:,} bytes and {copy.parent.parent} has"
                f" {free_bytes:,} free; free some space, or choose another disk"
            )
        copy_pages(source, copy, show=show, verb="backing up")


def _bytes_of(connection: apsw.Connection) -> int:
    pages = int(connection.execute("PRAGMA page_count").get)
    return pages * int(connection.execute("PRAGMA page_size").get)


def _checked(copy: Path, home: Home, show: Show) -> Contents:
    damage = damage_of(copy, show=show)
    if damage is not None:
        raise StorageFailed(
            f"the copy of {home.database} is damaged, and most likely the database itself is:"
            f" {damage}. No backup was made; keep the older ones, and see luludb restore --help"
        )
    with closing(opened(copy, apsw.SQLITE_OPEN_READONLY)) as connection:
        return contents_of(connection, name=str(home.database))


def _remove_older(newest: Path, keep: int) -> list[Path]:
    """Remove the oldest backups beside `newest`, which stays whatever time its name tells."""
    named = (
        Path(entry.path)
        for entry in os.scandir(newest.parent)
        if _NAMED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
    )
    others = sorted(path for path in named if path != newest)
    removed = others[: max(0, len(others) - (keep - 1))]
    try:
        for path in removed:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LuludbError(
            f"the backup {newest} is made, but an older one cannot be removed: {error}",
            code="not_removed",
        ) from error
    return removed
