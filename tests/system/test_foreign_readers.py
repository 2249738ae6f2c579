"""Any SQLite tool reads `lulu.db` while eight writers write, and never holds them up."""

import contextlib
import http.client
import importlib.util
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import pytest

from tests.peer import connected

WRITERS = 8
DEADLINE_S = 30


class Writers:
    """Eight clients, each on a thread of its own, that append until they are stopped."""

    def __init__(self, home) -> None:
        self.home = home
        self.appended = [0] * WRITERS
        self.session_ids = [f"writer {number}" for number in range(WRITERS)]
        self.errors = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]
        self._began = threading.Barrier(WRITERS + 1)
        for thread in self._threads:
            thread.start()
        self._began.wait(DEADLINE_S)

    def _write(self, number) -> None:
        try:
            with connected(self.home) as peer:
                peer.create_session(id=self.session_ids[number])
                self._began.wait(DEADLINE_S)
                while not self._stopping:
                    peer.append(self.session_ids[number], str(self.appended[number]))
                    self.appended[number] += 1
        except Exception as error:  # noqa: BLE001  # told when the writers stop
            self.errors.append(error)
            self._began.abort()

    def total(self) -> int:
        return sum(self.appended)

    def stop(self) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        assert self.errors == []


@pytest.fixture
def writers(luludb_daemon):
    """Eight writers at work; at the end each of their messages is there, once and in order."""
    writers = Writers(luludb_daemon.home)
    try:
        yield writers
    finally:
        writers.stop()
    uri = f"file:{quote(str(luludb_daemon.home / 'lulu.db'))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        for session_id, count in zip(writers.session_ids, writers.appended, strict=True):
            found = connection.execute(
                "SELECT content FROM messages WHERE session_id = ? ORDER BY rowid", (session_id,)
            )
            assert [text for (text,) in found] == [str(number) for number in range(count)]


def assert_growing(counts, writers):
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    assert counts[-1] <= writers.total() + WRITERS


def test_the_sqlite3_tool_reads_while_eight_writers_write(writers):
    counts = []
    deadline_s = time.monotonic() + DEADLINE_S
    while len(counts) < 15 or (counts[-1] == counts[0] and time.monotonic() < deadline_s):
        acknowledged = writers.total()
        done = subprocess.run(
            [
                "sqlite3",
                "-readonly",
                str(writers.home / "lulu.db"),
                "SELECT count(*) FROM messages",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert (done.returncode, done.stderr) == (0, "")
        counts.append(int(done.stdout))
        assert counts[-1] >= acknowledged  # an acknowledged write is seen by every later read

    assert_growing(counts, writers)


READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], uri=True, timeout=5)
first, number = None, 0
while number < 200 or count == first:  # until the writers were given a turn
    count, = connection.execute("SELECT count(*) FROM messages").fetchone()
    in_order, = connection.execute(
        "SELECT count(DISTINCT session_id) FROM messages JOIN sessions ON sessions.id = session_id"
    ).fetchone()
    print(count, in_order, flush=True)
    first, number = count if first is None else first, number + 1
connection.close()
"""


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_pythons_sqlite3_reads_while_eight_writers_write(writers, mode):
    uri = f"file:{quote(str(writers.home / 'lulu.db'))}?mode={mode}"

    done = subprocess.run(
        [sys.executable, "-c", READER, uri],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert_growing([count for count, _ in lines], writers)
    assert lines[-1][1] == WRITERS


def test_a_reader_that_holds_a_snapshot_stops_no_writer(writers):
    uri = f"file:{quote(str(writers.home / 'lulu.db'))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM messages").fetchone()

        with connected(writers.home) as peer:
            session_id = peer.create_session()
            for _ in range(300):
                peer.append(session_id)

        assert connection.execute("SELECT count(*) FROM messages").fetchone() == before
        connection.execute("COMMIT")
        after = connection.execute("SELECT count(*) FROM messages").fetchone()
        assert after[0] >= before[0] + 300


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, which is what Datasette's `--uds` serves."""

    def __init__(self, path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_datasette(path, sql):
    """The rows that Datasette's JSON answers."""
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request("GET", f"/lulu.json?_shape=arrays&sql={quote(sql)}")
        response = connection.getresponse()
        body = response.read()
    assert response.status == 200, body
    return json.loads(body)["rows"]


@contextlib.contextmanager
def datasette(database, path):
    """Datasette in a process of its own, once it says that it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "datasette", "serve", str(database), "--uds", str(path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    lines = []
    try:
        while not lines or ("running on" not in lines[-1] and lines[-1]):
            lines.append(process.stderr.readline())
        assert lines[-1], "".join(lines)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_datasette_reads_while_eight_writers_write(writers, short_directory):
    if importlib.util.find_spec("datasette") is None:
        pytest.skip("datasette is not installed")
    path = short_directory / "datasette.sock"

    with datasette(writers.home / "lulu.db", path):
        counts = []
        for _ in range(10):
            acknowledged = writers.total()
            counts.append(ask_datasette(path, "select count(*) from messages")[0][0])
            assert counts[-1] >= acknowledged
        sessions = ask_datasette(path, "select id from sessions order by id")

    assert_growing(counts, writers)
    assert [row[0] for row in sessions] == writers.session_ids
