"""Checks of where the home lies: owner, permissions, file system, room, and what was left there."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from luludb.admin.aside import directories_aside
from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import Nobody, Situation
from luludb.home import Home, is_network_file_system
from luludb.limits import DISK_FREE_BYTES_MIN, DISK_FREE_FILES_MIN
from luludb.platform import (
    SOCKET_PATH_BYTES_MAX,
    file_system_of,
    flock_holders,
    is_held_socket,
)

_DIRECTORY_BITS: Final = 0o700
_FILE_BITS: Final = 0o600
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_IN_A_CONTAINER: Final = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})


def check_home(situation: Situation) -> Iterator[Finding]:
    """Whether the home is there, and is a directory."""
    home = situation.home
    start = luludb_command(home, "start")
    if home.path.is_dir():
        yield Finding(Level.OK, "home", str(home.path))
    elif os.path.lexists(home.path):
        yield Finding(
            Level.PROBLEM,
            "home",
            f"{home.path} is no directory, so no daemon can use it",
            f"mv {_quoted(home.path)} {_quoted(home.path)}.old && {start}",
        )
    else:
        yield Finding(
            Level.WARNING,
            "home",
            f"there is no {home.path}; the first daemon makes it. If your data is elsewhere, name"
            " its home with --home or LULUDB_HOME",
            start,
        )


def check_owner(situation: Situation) -> Iterator[Finding]:
    """A daemon refuses a home of another user."""
    foreign = [path for path in _own(situation.home) if path.stat().st_uid != os.getuid()]
    for path in foreign:
        yield Finding(
            Level.PROBLEM,
            "owner",
            f"{path} belongs to user {path.stat().st_uid} and this is user {os.getuid()}; a daemon"
            " refuses to start here. Run luludb as its owner, or make it yours",
            f"sudo chown -R {os.getuid()} {_quoted(situation.home.path)}",
        )
    if not foreign:
        yield Finding(Level.OK, "owner", f"user {os.getuid()}")


def check_permissions(situation: Situation) -> Iterator[Finding]:
    """Directories 0700 and files 0600: what agents said is nobody else's."""
    found_any = False
    for path in _own(situation.home):
        wanted = _DIRECTORY_BITS if path.is_dir() else _FILE_BITS
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & ~wanted:
            found_any = True
            yield Finding(
                Level.WARNING,
                "permissions",
                f"{path} has mode {mode:04o}, so other users can reach what is in it; a daemon"
                " closes it at its start",
                f"chmod {wanted:o} {_quoted(path)}",
            )
        elif wanted & ~mode:
            found_any = True
            yield Finding(
                Level.PROBLEM,
                "permissions",
                f"{path} has mode {mode:04o}, so a daemon cannot write to it",
                f"chmod {wanted:o} {_quoted(path)}",
            )
    if not found_any:
        yield Finding(Level.OK, "permissions", "closed to other users")


def check_link(situation: Situation) -> Iterator[Finding]:
    """Two homes whose databases are one file would have two writers."""
    database = situation.home.database
    if database.is_symlink():
        target = os.path.realpath(database)
        yield Finding(
            Level.PROBLEM,
            "link",
            f"{database} is a symbolic link to {database.readlink()}, which the daemons of two"
            " homes could write to at once, so a daemon refuses to start",
            f"mv {_quoted(target)} {_quoted(database)}",
        )


def check_file_system(situation: Situation) -> Iterator[Finding]:
    """The write-ahead log needs memory that all processes share (sqlite.org/wal.html)."""
    home = situation.home
    kind = file_system_of(home.path)
    elsewhere = luludb_command(home, "backup", "FILE")
    if is_network_file_system(kind):
        yield Finding(
            Level.PROBLEM,
            "file system",
            f"{home.path} lies on a network file system ({kind}), where SQLite's locks and shared"
            " memory do not work; a daemon refuses to start. Restore a backup into a home on a"
            " local disk",
            elsewhere,
        )
    elif kind in _IN_MEMORY:
        yield Finding(
            Level.WARNING,
            "file system",
            f"{home.path} lies in memory ({kind}): everything is gone at the next boot, whatever"
            " the durability. Restore a backup into a home on a disk",
            elsewhere,
        )
    elif kind in _IN_A_CONTAINER:
        yield Finding(
            Level.NOTE,
            "file system",
            f"{kind}: the home lies in a container's own layer and goes with the container; a"
            " volume would stay",
        )
    else:
        yield Finding(Level.OK, "file system", kind or "not known")


def check_room(situation: Situation) -> Iterator[Finding]:
    """A full disk refuses writes; a log that may grow beyond the room there is fills it."""
    found = os.statvfs(situation.home.path)
    free_bytes = found.f_bavail * found.f_frsize
    wal_bytes_max = situation.settings.wal_bytes_max
    look = f"df -h {_quoted(situation.home.path)}"
    if found.f_flag & os.ST_RDONLY:
        yield Finding(
            Level.PROBLEM,
            "disk",
            f"the file system of {situation.home.path} is mounted read-only, which a kernel does"
            " after an error of the disk: nothing can be written",
            "dmesg | tail",
        )
    elif free_bytes < DISK_FREE_BYTES_MIN:
        yield Finding(
            Level.PROBLEM,
            "disk",
            f"{free_bytes:,} bytes are free; writes are refused as disk_full where none are, and"
            " go on by themselves once there is room",
            look,
        )
    elif free_bytes < wal_bytes_max - _bytes_of(situation.home.wal):
        yield Finding(
            Level.WARNING,
            "disk",
            f"{free_bytes:,} bytes are free, and the write-ahead log may grow to {wal_bytes_max:,}"
            " while a program reads for long: free some space, or lower wal_bytes_max",
            look,
        )
    elif found.f_files and found.f_favail < DISK_FREE_FILES_MIN:
        yield Finding(
            Level.WARNING,
            "disk",
            f"the file system has room for {found.f_favail} more files; a daemon makes some at"
            " each start",
            f"df -i {_quoted(situation.home.path)}",
        )
    else:
        yield Finding(Level.OK, "disk", f"{free_bytes / (1 << 30):,.1f} GiB free")


def check_socket_path(situation: Situation) -> Iterator[Finding]:
    """A unix socket's path has a bound, and a home may lie deeper."""
    path_bytes = len(os.fsencode(situation.home.run / "command.sock"))
    if path_bytes > SOCKET_PATH_BYTES_MAX:
        yield Finding(
            Level.NOTE,
            "sockets",
            f"a socket in the home would have a path of {path_bytes} bytes and the system takes"
            f" {SOCKET_PATH_BYTES_MAX}, so they lie in a temporary directory that daemon.json"
            " names. Have nothing that cleans up there remove it",
        )


def check_leftovers(situation: Situation) -> Iterator[Finding]:
    """What killed runs left behind."""
    home = situation.home
    for directory in directories_aside(home.path):
        if not flock_holders(directory):
            taken_bytes = sum(_bytes_of(path) for path in directory.iterdir())
            yield Finding(
                Level.WARNING,
                "leftovers",
                f"{directory} is what a backup or restore that was killed left behind, half of a"
                f" file; it takes {taken_bytes:,} bytes",
                f"rm -r {_quoted(directory)}",
            )
    sockets = [path for path in _listed(home.run) if path.is_socket() and not is_held_socket(path)]
    if sockets and isinstance(situation.answer, Nobody) and not situation.lock_pids:
        names = ", ".join(path.name for path in sockets)
        yield Finding(
            Level.NOTE,
            "leftovers",
            f"{names} in {home.run}: nobody listens there; the next daemon makes them anew",
            luludb_command(home, "start"),
        )


def _own(home: Home) -> list[Path]:
    """What a daemon looks at as it starts, as far as it is there."""
    files = (home.database, home.wal, home.shared_memory, home.lock, home.settings)
    return [path for path in (home.path, home.run, home.log, *files) if path.exists()]


def _listed(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
