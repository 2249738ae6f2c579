"""The home directory: where each file is, the lock, and the discovery file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from luludb.errors import LuludbError, StartRefused
from luludb.limits import DISCOVERY_BYTES_MAX
from luludb.platform import SOCKET_PATH_BYTES_MAX, file_system_of, flock_holders

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_TEMPORARY_PREFIX = "luludb-"
_DAEMON = "daemon"
HOME_LOCKED = "home_locked"
_OTHER_HOME = "name another one with --home or LULUDB_HOME"
_NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "afpfs",
        "webdav",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "lustre",
        "ncpfs",
    ]
)


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds everything, and the places in it."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "lulu.db"

    @property
    def wal(self) -> Path:
        return self.path / "lulu.db-wal"

    @property
    def shared_memory(self) -> Path:
        return self.path / "lulu.db-shm"

    @property
    def lock(self) -> Path:
        return self.path / "lulu.lock"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def discovery(self) -> Path:
        return self.run / "daemon.json"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def failure(self) -> Path:
        """Left behind by a daemon whose storage failed; the next start heeds it."""
        return self.path / "storage-failed"

    @property
    def settings(self) -> Path:
        return self.path / "luludb.toml"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What `daemon.json` says: who serves here, and where its sockets are."""

    pid: int
    boot_id: str
    version: str
    protocol: int
    command: str
    changes: str


def find_home(
    path: str | os.PathLike[str] | None = None, env: Mapping[str, str] = os.environ
) -> Home:
    """The home that `path` names, else `LULUDB_HOME`, else the user's data directory."""
    named = path or env.get("LULUDB_HOME") or platformdirs.user_data_dir("luludb")
    return Home(Path(os.path.abspath(os.path.expanduser(os.fspath(named)))))


def refuse_closed(home: Home) -> None:
    """Who may not enter a directory finds no file in it: tell that from a home that is empty.

    Raises:
        LuludbError: `home` is no directory, or closed to this user.
    """
    try:
        found = home.path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LuludbError(
            f"home {home.path} cannot be looked at: {error.strerror}; {_OTHER_HOME}"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise LuludbError(f"home {home.path} is no directory; {_OTHER_HOME}")
    if not os.access(home.path, os.R_OK | os.X_OK):
        raise LuludbError(
            f"home {home.path} belongs to user {found.st_uid} and is closed to user {os.getuid()};"
            f" run luludb as its owner, or {_OTHER_HOME}"
        )


def prepare_home(home: Home) -> list[str]:
    """Make the directories that are missing, and close to others what is open to them.

    Returns:
        A message for each thing that was tightened.

    Raises:
        StartRefused: something is owned by another user, or is not a directory, or lies on a
            network file system.
    """
    messages = []
    try:
        home.path.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        _refuse_network_file_system(home)
        for directory in (home.path, home.run, home.log):
            directory.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
            messages += _tighten(directory, _PRIVATE_DIRECTORY)
        _refuse_link(home)
        for file in (home.database, home.wal, home.shared_memory, home.lock, home.settings):
            # SQLite gives -wal and -shm the mode of the database, whatever the umask.
            if file.exists():
                messages += _tighten(file, _PRIVATE_FILE)
    except OSError as error:
        raise StartRefused(
            f"home {home.path} cannot be used: {error.strerror}: {error.filename}"
        ) from error
    return messages


def is_network_file_system(kind: str) -> bool:
    """Whether a type of file systems, as the system names it, lies on another machine."""
    return kind in _NETWORK_FILE_SYSTEMS or kind.startswith("fuse.sshfs")


def _refuse_network_file_system(home: Home) -> None:
    """SQLite's write-ahead log needs memory that all processes share (sqlite.org/wal.html)."""
    kind = file_system_of(home.path)
    if is_network_file_system(kind):
        raise StartRefused(
            f"{home.path} lies on a network file system ({kind}), where SQLite's locks and shared"
            " memory do not work; choose a home on a local disk with --home or LULUDB_HOME"
        )


def _refuse_link(home: Home) -> None:
    """The lock guards what is in the home alone, and SQLite puts the log beside a link's target."""
    if home.database.is_symlink():
        raise StartRefused(
            f"{home.database} is a symbolic link to {home.database.readlink()}, which the daemons"
            " of two homes could write to at once; put the file itself into the home"
        )


def _tighten(path: Path, mode: int) -> list[str]:
    found = path.stat()
    if found.st_uid != os.getuid():
        raise StartRefused(
            f"{path} belongs to user {found.st_uid} and this is user {os.getuid()};"
            " run the daemon as its owner, or choose a home of your own with --home"
        )
    open_bits = stat.S_IMODE(found.st_mode) & ~mode
    if not open_bits:
        return []
    path.chmod(stat.S_IMODE(found.st_mode) & mode)
    return [f"{path} was open to others (mode {stat.S_IMODE(found.st_mode):04o}); now {mode:04o}"]


@contextlib.contextmanager
def locked(home: Home, holder: str = _DAEMON) -> Iterator[None]:
    """Hold the home's lock. The file is never unlinked, and says who holds it.

    Args:
        home: whose lock.
        holder: what this process does, in one word: `daemon`, or the name of its command.

    Raises:
        StartRefused: another process holds it; the message names its pid, and the details have
            `holder_pid` (None where it is not yet written) and `holder`. Its code is `home_locked`.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _held_by_another(home, os.pread(descriptor, 64, 0)) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _lock_text(holder), 0)
        except OSError as error:
            raise StartRefused(f"{home.lock} cannot be written: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)


def _lock_text(holder: str) -> bytes:
    """The pid, and on a line of its own what else than a daemon this process is."""
    lines = [str(os.getpid()), *([] if holder == _DAEMON else [holder])]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def _read_lock_text(text: bytes) -> tuple[int | None, str]:
    """The pid, None where it is not yet written, and what that process does."""
    words = text.decode("ascii", "replace").split()
    pid = int(words[0]) if words and words[0].isdecimal() else None
    return pid, words[1] if len(words) > 1 else _DAEMON


def daemon_that_holds(home: Home) -> int | None:
    """The pid of the daemon that holds the home's lock, which is not tried for that.

    None where no daemon does, and where the system does not tell; Linux's `/proc/locks` does.
    """
    holders = flock_holders(home.lock)
    if not holders or _read_lock_text(home.lock.read_bytes())[1] != _DAEMON:
        return None
    return holders[0]


def _held_by_another(home: Home, text: bytes) -> StartRefused:
    pid, holder = _read_lock_text(text)
    held = f"pid {pid or '(not yet written)'} holds {home.lock}"
    if holder == _DAEMON:
        why = f"a daemon already serves this home. Use it, or stop it first: {stop_command(home)}"
    else:
        why = f"luludb {holder} needs this home for itself; wait until it has ended"
    return StartRefused(f"{held}: {why}", code=HOME_LOCKED, holder_pid=pid, holder=holder)


def stop_command(home: Home) -> str:
    """The command that stops the daemon of `home`, as one types it."""
    return f"luludb stop --home {shlex.quote(str(home.path))}"


@contextlib.contextmanager
def socket_directory(home: Home) -> Iterator[Path]:
    """The directory for the sockets: `run`, or a temporary one where that path is too long.

    Only one who holds the home's lock may call this.
    """
    longest = os.fsencode(home.run / "command.sock")
    if len(longest) <= SOCKET_PATH_BYTES_MAX:
        yield home.run
        return
    _remove_left_behind(home)
    directory = _short_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_left_behind(home: Home) -> None:
    """A daemon that was killed leaves its temporary directory behind, and daemon.json names it."""
    left = read_discovery(home)
    for endpoint in () if left is None else (left.command, left.changes):
        path = Path(endpoint.removeprefix("ipc://"))
        if path.parent.name.startswith(_TEMPORARY_PREFIX) and path.is_socket():
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()


def _short_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX))
    if len(os.fsencode(directory / "command.sock")) <= SOCKET_PATH_BYTES_MAX:
        return directory
    directory.rmdir()  # TMPDIR may lie as deep as the home
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir="/tmp"))


def write_discovery(home: Home, discovery: Discovery) -> None:
    """Put `daemon.json` in its place, whole or not at all."""
    aside = home.discovery.with_suffix(f".{os.getpid()}.tmp")
    aside.write_text(json.dumps(asdict(discovery), ensure_ascii=False) + "\n", encoding="utf-8")
    aside.rename(home.discovery)


def remove_discovery(home: Home) -> None:
    """Take `daemon.json` away."""
    home.discovery.unlink(missing_ok=True)


def read_discovery(home: Home) -> Discovery | None:
    """Who serves this home as far as `daemon.json` says; None where it is absent or not readable.

    A daemon that was killed leaves its file behind: only an answer shows that it lives.
    """
    try:
        with home.discovery.open("rb") as file:
            found = json.loads(file.read(DISCOVERY_BYTES_MAX))
        return Discovery(
            pid=int(found["pid"]),
            boot_id=str(found["boot_id"]),
            version=str(found["version"]),
            protocol=int(found["protocol"]),
            command=str(found["command"]),
            changes=str(found["changes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
