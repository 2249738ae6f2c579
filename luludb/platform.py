"""What differs between Linux and macOS: figures of the process, files and disks, locks, boots."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from luludb.limits import (
    FILE_CHUNK_BYTES,
    SOCKET_PATH_BYTES_MAX_LINUX,
    SOCKET_PATH_BYTES_MAX_MACOS,
)

IS_MACOS = sys.platform == "darwin"
SOCKET_PATH_BYTES_MAX = SOCKET_PATH_BYTES_MAX_MACOS if IS_MACOS else SOCKET_PATH_BYTES_MAX_LINUX
# Bytes of lulu.db-shm that stand for the locks of a WAL database, sqlite.org/walformat.html.
WRITE_LOCK_BYTE = 120
READ_LOCK_BYTES = (123, 127)


def raise_open_files_limit() -> int:
    """Raise the soft limit on open files to the hard one and return it.

    libzmq aborts the process when accept finds no descriptor left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard or hard == resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft  # macOS caps it at kern.maxfilesperproc, whatever the hard limit says
        return hard
    return soft


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/dev/fd" if IS_MACOS else "/proc/self/fd"))


def resident_bytes() -> int:
    """The resident memory of this process; on macOS the most there was."""
    if IS_MACOS:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def machine_boot_id() -> str | None:
    """A text that changes when the machine is booted; None where it cannot be known."""
    try:
        if IS_MACOS:
            command = ["sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(
                command, capture_output=True, check=True, text=True
            ).stdout.strip()
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path`, such as `ext4` or `nfs4`; empty if unknown."""
    if IS_MACOS:
        listed = subprocess.run(["mount"], capture_output=True, check=True, text=True).stdout
        found = re.findall(r"^.* on (.*) \(([^,)]*)", listed, re.MULTILINE)
    else:
        listed = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        found = [_mount_of(line) for line in listed.splitlines()]
    resolved = path.resolve()
    within = [
        (len(mount), number, kind)
        for number, (mount, kind) in enumerate(found)
        if resolved.is_relative_to(mount)
    ]
    return max(within)[2] if within else ""


def lock_holders(path: Path, first_byte: int, last_byte: int) -> list[int]:
    """The pids, other than ours, that hold a lock on any of these bytes of `path`.

    Empty where nobody does, and where the system does not tell (it does in Linux's `/proc/locks`).
    """
    pids = []
    for pid, first, last in _locks_of(path, "POSIX"):
        end = last_byte if last == "EOF" else int(last)
        if int(first) <= last_byte and end >= first_byte and pid != os.getpid():
            pids.append(pid)
    return sorted(set(pids))


def flock_holders(path: Path) -> list[int]:
    """The pids that took a flock on `path` and hold it, as far as the system tells."""
    return sorted({pid for pid, _, _ in _locks_of(path, "FLOCK")})


def _locks_of(path: Path, kind: str) -> Iterator[tuple[int, str, str]]:
    """Pid, first and last byte of each lock of this kind on `path`."""
    try:
        found = path.stat()
        listed = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in listed.splitlines():
        # 1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 120 120
        fields = line.split()
        if len(fields) == 8 and fields[1] == kind and fields[5] == device:
            yield int(fields[4]), fields[6], fields[7]


def is_held_socket(path: Path) -> bool:
    """Whether some process has the unix socket at `path` bound, which hears nothing of being asked.

    To connect a socket of another type fails with EPROTOTYPE where one is bound there, and with
    ECONNREFUSED where only the file was left behind (unix(7); the same on macOS). A stream would
    be accepted, and have a service manager start its service.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return True


def described_process(pid: int) -> str:
    """`pid 123 (name)`, or `pid 123` where the name cannot be read."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"pid {pid}"
    return f"pid {pid} ({name})"


def process_started(pid: int) -> str | None:
    """When a process began, as a text that one with the same pid later does not have.

    None where there is none of that pid, or one that has ended and nobody took note of.
    """
    if IS_MACOS:
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        found = subprocess.run(command, capture_output=True, check=False, text=True).stdout
        state, _, started = found.strip().partition(" ")
    else:
        try:
            found = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        # The name in the second field, in brackets, may hold anything: proc_pid_stat(5).
        fields = found.rpartition(")")[2].split()
        state, started = fields[0], fields[19]
    return None if not state or state.startswith(("Z", "X")) else started.strip()


def is_stopped(pid: int) -> bool:
    """Whether the process stands still after SIGSTOP; False where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["T"]  # the name before it may hold anything


def open_files_limit_of(pid: int) -> int | None:
    """How many files another process of ours may have open; None where it cannot be known."""
    try:
        text = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^Max open files +(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def sync_to_disk(path: Path) -> None:
    """Have what was written to a file, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sys.platform == "darwin":
            # fsync(2) there leaves it in the drive's cache; not every file system has the other.
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_again(path: Path) -> None:
    """Write what is read of a file to the same place, and sync it."""
    with path.open("r+b", buffering=0) as file:
        at = 0
        while chunk := file.read(FILE_CHUNK_BYTES):
            os.pwrite(file.fileno(), chunk, at)
            at += len(chunk)
        os.fsync(file.fileno())


def _mount_of(line: str) -> tuple[str, str]:
    """Mount point and type of a line of mountinfo, proc_pid_mountinfo(5)."""
    before, _, behind = line.partition(" - ")
    mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
    return mount, behind.split()[0]
