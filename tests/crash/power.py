"""A disk that loses what was not synced: a VFS under SQLite that can cut the power.

The files themselves hold what a living system sees. Beside each one stands what its last sync
made safe, and the writes since then. When the power is cut, some of those reach the disk and some
do not, sector by sector, and the files become what survived.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apsw

from luludb.daemon import guards

SECTOR_BYTES = 512
NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes written at an offset."""

    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Resized:
    """A file cut off or extended."""

    size_bytes: int


Operation = Written | Resized


@dataclass(slots=True, eq=False)
class Contents:
    """What a file holds for sure, and what was done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[Operation] = field(default_factory=list)

    def keep(self, operations: Iterable[Operation]) -> None:
        """Make these operations safe, and forget the others."""
        for operation in operations:
            _apply(self.safe, operation)
        self.unsafe.clear()


class Disk:
    """The files of one database, and what of them would survive a loss of power now.

    Attributes:
        operations: writes, truncations and syncs so far.
        ended_in_a_sync: whether it was a sync in which the system died.
        sync_failed: whether a sync failed since the last restart.
        is_on: False from the moment that was chosen; every operation then fails.
    """

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self.directory = directory
        self.operations = 0
        self.ended_in_a_sync = False
        self.is_on = True
        self._chance = chance
        self._ends_at = NEVER
        self._ends_in_a_sync = False
        self.sync_failed = False
        self._sync_fails_at = NEVER
        self._names: dict[str, Contents] = {}
        self._safe_names: dict[str, Contents] = {}
        # What was created (or removed: None) since the directory was synced last.
        self._unsafe_names: list[tuple[str, Contents | None]] = []

    def end_after(self, operations: int, *, in_a_sync: bool = False) -> None:
        """Let the system die inside the operation that is so many on, or the next sync then."""
        self._ends_at = self.operations + operations
        self._ends_in_a_sync = in_a_sync

    def fail_sync_after(self, operations: int) -> None:
        """Let the first sync after so many operations fail, and the next ones succeed falsely.

        A kernel may mark the pages clean that it could not write: they are seen as long as the
        machine lives, and no later sync tries them again.
        """
        self._sync_fails_at = self.operations + operations

    @property
    def has_failed(self) -> bool:
        """Whether an operation has failed since the last restart."""
        return self.sync_failed or not self.is_on

    def check_on(self) -> None:
        """Refuse an operation of a system that is dead."""
        if not self.is_on:
            raise apsw.IOError("the power is off")

    def opened(self, name: str) -> Contents:
        """The contents of the file of that name, which is created if it is not there."""
        if name not in self._names:
            self._names[name] = Contents()
            self._unsafe_names.append((name, self._names[name]))
        return self._names[name]

    def removed(self, name: str) -> None:
        """The file was unlinked, which may or may not survive until the directory is synced."""
        del self._names[name]
        self._unsafe_names.append((name, None))
        self._count()

    def note(self, contents: Contents, operation: Operation) -> None:
        """An operation that may or may not survive, until the next sync."""
        contents.unsafe.append(operation)
        self._count()

    def sync(self, contents: Contents) -> None:
        """What was written to the file is safe, unless the system dies in this very sync."""
        self._count(in_a_sync=True)
        if self.operations >= self._sync_fails_at:
            self._sync_fails_at = NEVER
            self.sync_failed = True
            contents.keep(self._kept(contents.unsafe))
            raise apsw.IOError("fdatasync failed")
        contents.keep(contents.unsafe)

    def write_again(self, path: Path) -> None:
        """What `guards.write_again` does behind SQLite's back: all is written anew, and synced."""
        self.check_on()
        contents = self.opened(path.name)
        self.note(contents, Written(0, path.read_bytes()))
        self.sync(contents)

    def sync_names(self) -> None:
        """What was created and removed is safe, unless the system dies in this very sync."""
        self._count(in_a_sync=True)
        self._safe_names = dict(self._names)
        self._unsafe_names.clear()

    def restart_after_kill(self) -> None:
        """The process died and the machine lives: all that was written is still seen."""
        self.is_on = True
        self.sync_failed = False
        self._sync_fails_at = NEVER
        self._ends_at = NEVER

    def lose_all(self) -> None:
        """Cut the power, and let nothing survive that is not safe."""
        for contents in self._names.values():
            contents.unsafe.clear()
        self._unsafe_names.clear()
        self.restart_after_power_cut()

    def restart_after_power_cut(self) -> None:
        """Make the files what survived, which is safe from now on."""
        kept = self._chance.randint(0, len(self._unsafe_names))  # file systems keep their order
        for name, contents in self._unsafe_names[:kept]:
            if contents is None:
                self._safe_names.pop(name, None)
            else:
                self._safe_names[name] = contents
        self._unsafe_names.clear()
        self._names = dict(self._safe_names)
        for path in self.directory.glob("lulu.db*"):
            path.unlink()
        for name, contents in self._names.items():
            contents.keep(self._kept(contents.unsafe))
            (self.directory / name).write_bytes(contents.safe)
        self.restart_after_kill()

    def _count(self, *, in_a_sync: bool = False) -> None:
        self.operations += 1
        if self.operations >= self._ends_at and in_a_sync >= self._ends_in_a_sync:
            self.is_on = False
            self.ended_in_a_sync = in_a_sync
            self.check_on()

    def _kept(self, operations: list[Operation]) -> Iterator[Operation]:
        """Nothing, everything, the beginning with its last write torn, or any of the sectors."""
        match self._chance.randrange(4):
            case 0:
                return
            case 1:
                yield from operations
            case 2:
                count = self._chance.randint(0, len(operations))
                yield from operations[:count]
                yield from self._some_sectors(operations[count : count + 1], 0.5)
            case _:
                yield from self._some_sectors(operations, self._chance.random())

    def _some_sectors(self, operations: list[Operation], share: float) -> Iterator[Operation]:
        for operation in operations:
            pieces = _sectors(operation) if isinstance(operation, Written) else [operation]
            yield from (piece for piece in pieces if self._chance.random() < share)


class PowerVFS(apsw.VFS):
    """SQLite's way to the files of one disk. It is the default while it is registered."""

    def __init__(self, disk: Disk) -> None:
        self.vfs_name = f"power-{uuid.uuid4().hex}"
        self._disk = disk
        super().__init__(self.vfs_name, "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return PowerFile(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        # SQLite forgives a journal that cannot be unlinked while it closes, but apsw would raise
        # there. Whatever follows fails anyhow.
        with contextlib.suppress(apsw.IOError):
            self._disk.check_on()
            super().xDelete(filename, syncdir)
            self._disk.removed(Path(filename).name)
            if syncdir:
                self._disk.sync_names()


class PowerFile(apsw.VFSFile):
    """One open file. It never syncs the real one: no power is cut there."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)
        self._disk = disk
        self._contents = disk.opened(Path(path).name)
        # SQLite syncs the directory with the first sync of a journal or log that it may create
        # (os_unix.c, UNIXFILE_DIRSYNC).
        logs = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
        self._names_are_synced = not (flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & logs)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.check_on()
        super().xWrite(data, offset)
        self._disk.note(self._contents, Written(offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.check_on()
        super().xTruncate(newsize)
        self._disk.note(self._contents, Resized(newsize))

    def xSync(self, _flags: int) -> None:  # noqa: N802
        self._disk.check_on()
        self._disk.sync(self._contents)
        if not self._names_are_synced:
            self._disk.sync_names()
            self._names_are_synced = True


@contextlib.contextmanager
def power_disk(directory: Path, chance: random.Random) -> Iterator[Disk]:
    """A disk that holds every database that this process opens before the end of the `with`."""
    disk = Disk(directory, chance)
    vfs = PowerVFS(disk)
    try:
        with patch.object(guards, "write_again", disk.write_again):
            yield disk
    finally:
        vfs.unregister()


def _apply(content: bytearray, operation: Operation) -> None:
    match operation:
        case Resized(size_bytes):
            _resize(content, size_bytes)
        case Written(offset, written):
            end = offset + len(written)
            _resize(content, max(end, len(content)))
            content[offset:end] = written


def _resize(content: bytearray, size_bytes: int) -> None:
    """Cut off, or extend with zeros as a file system does."""
    del content[size_bytes:]
    content.extend(bytes(size_bytes - len(content)))


def _sectors(operation: Written) -> Iterator[Written]:
    """The write in pieces that lie in one sector each."""
    at, end = operation.offset, operation.offset + len(operation.content)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        start = at - operation.offset
        yield Written(at, operation.content[start : until - operation.offset])
        at = until
