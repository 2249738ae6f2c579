"""PostgreSQL over its unix socket: a cluster of its own in a temporary directory."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.bench.rows import Message, Session
from scripts.bench.systems import CallFailed, KeptRows

if TYPE_CHECKING:
    import psycopg

KEEPS_ROWS = True
MAJOR = 15
BIN = Path(f"/usr/lib/postgresql/{MAJOR}/bin")
OWNER = "postgres"
SOCKET_PATH_BYTES_MAX = 90  # the file's own name comes behind it, and 107 is all there is
START_S_MAX = 60.0
STOP_S_MAX = 30.0
CLUSTER_CONFIGURATION = Path("/etc/postgresql-common/createcluster.conf")
SCHEMA = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'created',
    working_dir TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE messages (
    id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL, content TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);
CREATE INDEX idx_messages_session_id ON messages(session_id);
"""
INSERT_SESSION = "INSERT INTO sessions VALUES (%s, %s, %s, %s, %s, %s)"
INSERT_MESSAGE = "INSERT INTO messages VALUES (%s, %s, %s, %s, %s)"


def reason_missing() -> str | None:
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed"
    if _program("initdb") is None:
        return (
            f"PostgreSQL {MAJOR} is not installed;"
            f" as root on Debian: apt-get install postgresql-{MAJOR}"
        )
    if os.getuid() == 0 and not _owner_exists():
        return f"PostgreSQL does not run as root, and there is no user {OWNER} to run it as"
    return None


def install() -> None:
    """Install it from Debian where it is missing, this is root, and there is an apt-get."""
    if _program("initdb") or os.getuid() != 0 or shutil.which("apt-get") is None:
        return
    print(f"installing postgresql-{MAJOR} with apt-get", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    with contextlib.suppress(subprocess.CalledProcessError):
        _quietly(["apt-get", "update", "-qq"], environment)
        _quietly([*install, "postgresql-common"], environment)
        # Debian makes a cluster and runs it as a service; nobody asked for one.
        with CLUSTER_CONFIGURATION.open("a") as file:
            file.write("create_main_cluster = false\n")
        _quietly([*install, f"postgresql-{MAJOR}"], environment)


def version() -> str:
    import psycopg

    told = subprocess.run(
        [_found_program("postgres"), "--version"], check=True, capture_output=True, text=True
    )
    return f"{told.stdout.strip()}, psycopg {psycopg.__version__}"


def settings() -> str:
    return (
        "unix socket, synchronous_commit on or off, all else as initdb leaves it; psycopg's cursor"
        " with a prepared statement, autocommit"
    )


@contextlib.contextmanager
def serving(directory: Path, durability: str) -> Iterator[int | None]:
    """A new cluster, run by an unprivileged user since it refuses to run as root."""
    cluster = directory / "cluster"
    if os.getuid() == 0:
        shutil.chown(directory, OWNER, OWNER)
    initdb = [_found_program("initdb"), "-D", str(cluster), "-U", OWNER, "-A", "trust"]
    made = subprocess.run(
        [*initdb, "-E", "UTF8", "--locale=C"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **_as_owner(),
    )
    if made.returncode:
        raise RuntimeError(f"initdb ended with {made.returncode}: {made.stdout.strip()[-2000:]}")
    with contextlib.ExitStack() as stack:
        socket = stack.enter_context(_socket_directory(directory))
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *(_found_program("postgres"), "-D", str(cluster), "-k", str(socket)),
                    *("-c", "listen_addresses=", "-c", "logging_collector=off"),
                    *("-c", f"synchronous_commit={_synchronous_commit(durability)}"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                **_as_owner(),
            )
        stack.callback(_stop, server)
        with contextlib.closing(_first_connection(directory, server)) as connection:
            connection.execute(SCHEMA)
        yield server.pid


@contextlib.contextmanager
def connected(directory: Path, durability: str) -> Iterator[PostgresqlClient]:
    del durability  # is the server's
    with contextlib.closing(_connect(directory)) as connection:
        yield PostgresqlClient(connection)


class PostgresqlClient:
    """One connection with one cursor, each statement prepared at its first use."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        import psycopg

        self._error = psycopg.Error
        self._connection = connection
        self._cursor = connection.cursor()

    def create_session(self, session: Session) -> None:
        self._cursor.execute(INSERT_SESSION, session)

    def append(self, message: Message) -> None:
        try:
            self._cursor.execute(INSERT_MESSAGE, message, prepare=True)
        except self._error as error:
            raise CallFailed(_code_of(error)) from error

    def append_together(self, messages: Sequence[Message]) -> None:
        try:
            with self._connection.transaction():
                self._cursor.executemany(INSERT_MESSAGE, messages)
        except self._error as error:
            raise CallFailed(_code_of(error)) from error


@contextlib.contextmanager
def kept_rows(directory: Path) -> Iterator[KeptRows]:
    """The rows by id: PostgreSQL keeps no order of its own, and the ids rise with time."""
    with contextlib.closing(_connect(directory)) as connection:
        yield (
            connection.execute("SELECT id, name, status, working_dir FROM sessions"),
            connection.execute(
                "SELECT id, session_id, role, content, timestamp FROM messages ORDER BY id"
            ),
        )


def _synchronous_commit(durability: str) -> str:
    return "on" if durability == "full" else "off"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def _found_program(name: str) -> str:
    found = _program(name)
    assert found is not None, "reason_missing was asked"
    return found


def _quietly(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _owner_exists() -> bool:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(OWNER)
        return True
    return False


def _as_owner() -> dict[str, Any]:
    """How a process is started as the user whom the cluster belongs to."""
    if os.getuid() != 0:
        return {}
    return {"user": OWNER, "group": OWNER, "extra_groups": (), "cwd": "/"}


@contextlib.contextmanager
def _socket_directory(directory: Path) -> Iterator[Path]:
    """Where the socket is: a link in `directory` leads there where its own path is too long."""
    place = directory / "socket"
    if len(os.fsencode(place)) <= SOCKET_PATH_BYTES_MAX:
        place.mkdir()
        _give(place)
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as short:
        _give(Path(short))
        place.symlink_to(short)
        yield Path(short)


def _give(directory: Path) -> None:
    directory.chmod(0o700)
    if os.getuid() == 0:
        shutil.chown(directory, OWNER, OWNER)


def _connect(directory: Path) -> psycopg.Connection[Any]:
    import psycopg

    host = str((directory / "socket").resolve())
    return psycopg.connect(host=host, user=OWNER, dbname="postgres", autocommit=True)


def _first_connection(directory: Path, server: subprocess.Popen[bytes]) -> psycopg.Connection[Any]:
    import psycopg

    deadline_s = time.monotonic() + START_S_MAX
    while True:
        try:
            return _connect(directory)
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline_s:
                said = (directory / "log").read_text(errors="replace").strip()[-2000:]
                raise RuntimeError(f"PostgreSQL did not start: {said}") from error
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, by force
        server.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S_MAX)
            return


def _code_of(error: psycopg.Error) -> str:
    # Without an SQLSTATE the connection broke, and whether the row is there is not known.
    return error.sqlstate or "outcome_unknown"
