"""Files of an earlier schema: under clients that wait, and over a change of daemon as they write.

`tests/data/schema-1.sql` is a whole `lulu.db` of the first schema and `schema-1.json` what one of
its clients had sent and was answered. Both are frozen. Whoever adds a schema freezes one more.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from luludb_client import Client
from luludb_client.testing import Daemon, running_daemon
from tests.peer import Peer, answer_of, connected
from tests.system.conftest import read_rows

DATA = Path(__file__).resolve().parent.parent / "data"
FROZEN = (DATA / "schema-1.sql").read_text(encoding="utf-8")
TOLD = json.loads((DATA / "schema-1.json").read_text(encoding="utf-8"))
MADE_ELSEWHERE = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'created', working_dir TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL,
    content TEXT NOT NULL, timestamp TEXT NOT NULL,
    FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE);
CREATE INDEX idx_messages_session_id ON messages(session_id);
INSERT INTO sessions VALUES ('s1', 'old', 'running', '/w', '2025-01-01', 'yesterday');
INSERT INTO messages VALUES ('m1', 's1', 'user', 'old', 'whenever');
WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO messages SELECT 'm' || i, 's1', 'user', 'old', 'whenever' FROM n;
"""
# The program that made the file dies without closing it: what it wrote is still in the log.
MAKER = """
import os, sqlite3, sys

database, script = sys.argv[1:]
sqlite3.connect(database).executescript(script)
os._exit(0)
"""
FILES = {
    "rollback-journal": MADE_ELSEWHERE,
    "write-ahead-log": "PRAGMA journal_mode = WAL;" + MADE_ELSEWHERE,
    "schema-1": "PRAGMA journal_mode = WAL;" + FROZEN,
}
AUTHORS = 8
WINDOW = 20
CHANGES_OF_DAEMON = 3
TIMEOUT_S = 60.0
DEADLINE_S = 60.0
ROWS = (
    "SELECT * FROM sessions WHERE id IN ('s1', 's2') ORDER BY rowid",
    "SELECT * FROM messages WHERE session_id IN ('s1', 's2') ORDER BY rowid",
)
OWN_ROWS = (
    "SELECT * FROM lulu_changes WHERE rev <= 16 ORDER BY rev",
    "SELECT client_id FROM lulu_clients WHERE id <= 3 ORDER BY id",
    "SELECT * FROM lulu_meta WHERE key IN ('database_id', 'first_rev') ORDER BY key",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def put_into(home: Path, script: str) -> None:
    subprocess.run([sys.executable, "-c", MAKER, str(home / "lulu.db"), script], check=True)


class Authors:
    """Clients that write, one in two pipelined, until they shall stop. None may see an error."""

    def __init__(self, home: Path, pool: ThreadPoolExecutor) -> None:
        self._home = home
        self._over = threading.Event()
        self._begun = threading.Semaphore(0)
        self._written = threading.Semaphore(0)
        self._futures = [pool.submit(self._write, number) for number in range(AUTHORS)]

    def wait_until_begun(self) -> None:
        for _ in range(AUTHORS):
            assert self._begun.acquire(timeout=DEADLINE_S)

    def wait_until_written(self, times: int) -> None:
        """Wait until so many more windows of any author are acknowledged."""
        for _ in range(times):
            assert self._written.acquire(timeout=DEADLINE_S), self._futures

    def end(self) -> None:
        self._over.set()

    def check(self) -> int:
        """Whether all of what each wrote is there, in order. Returns how many messages that is."""
        self.end()
        counts = [future.result(DEADLINE_S) for future in self._futures]
        with Client(self._home) as client:
            for number, count in enumerate(counts):
                found = [message.content for message in client.list_messages(f"author {number}")]
                assert found == [str(index) for index in range(count)]
        return sum(counts)

    def _write(self, number: int) -> int:
        count = 0
        with Client(self._home, timeout_s=TIMEOUT_S) as client:
            self._begun.release()
            session_id = client.create_session("n", "/w", id=f"author {number}").id
            while not self._over.is_set():
                futures: list[Future[dict[str, Any]]] = []
                for content in map(str, range(count, count + WINDOW)):
                    if number % 2:
                        args = {"session_id": session_id, "role": "user", "content": content}
                        futures.append(client.submit("message.append", **args))
                    else:
                        client.append_message(session_id, "user", content)
                assert all("rev" in future.result(TIMEOUT_S) for future in futures)
                count += WINDOW
                self._written.release()
        return count


@contextlib.contextmanager
def writing(home: Path) -> Iterator[Authors]:
    with ThreadPoolExecutor(AUTHORS) as pool:
        authors = Authors(home, pool)
        try:
            yield authors
        finally:
            authors.end()


@pytest.mark.parametrize("kind", FILES)
def test_clients_that_wait_go_on_when_a_daemon_has_taken_an_older_file(
    home: Path, kind: str
) -> None:
    with writing(home) as authors:
        authors.wait_until_begun()
        put_into(home, FILES[kind])
        before = [read_rows(home, sql) for sql in ROWS]
        with Client(home) as reader:
            assert reader.get_session("s1") is not None
            first = next(reader.list_messages("s1"))
            with running_daemon(home):
                authors.wait_until_written(3 * AUTHORS)
                assert authors.check() >= 3 * AUTHORS * WINDOW
                assert next(reader.list_messages("s1")) == first

    assert [read_rows(home, sql) for sql in ROWS] == before
    assert read_rows(home, "PRAGMA journal_mode") == [("wal",)]
    assert read_rows(home, "PRAGMA integrity_check") == [("ok",)]
    assert read_rows(home, "PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("end", [Daemon.kill, Daemon.stop], ids=["kill", "stop"])
def test_no_client_sees_an_error_when_the_daemon_changes_over_a_file_of_schema_1(
    home: Path, end: Callable[[Daemon], None]
) -> None:
    put_into(home, FILES["schema-1"])
    before = [read_rows(home, sql) for sql in ROWS + OWN_ROWS]
    with running_daemon(home) as daemon:
        with writing(home) as authors:
            for _ in range(CHANGES_OF_DAEMON):
                authors.wait_until_written(AUTHORS)
                end(daemon)
                daemon.start()
            authors.wait_until_written(2 * AUTHORS)
            written = authors.check()
        with asking_again(home) as peer:
            check_told(peer)

    assert [read_rows(home, sql) for sql in ROWS + OWN_ROWS] == before
    # Nothing of what was asked again was applied again.
    assert read_rows(home, "SELECT max(rev) FROM lulu_changes") == [(16 + AUTHORS + written,)]
    assert read_rows(home, "PRAGMA integrity_check") == [("ok",)]


@contextlib.contextmanager
def asking_again(home: Path) -> Iterator[Peer]:
    """The client of the frozen file, back again."""
    with connected(home, bytes.fromhex(TOLD["client_id"]), hello=False) as peer:
        found = peer.hello()
        assert (found["registered"], found["last_seq"]) == (False, TOLD["last_seq"])
        assert found["database_id"] in FROZEN
        yield peer


def check_told(peer: Peer) -> None:
    """What was sent is answered as it was, byte for byte, unless it was acknowledged."""
    for each in TOLD["kept"]:
        peer.send_frame(bytes.fromhex(each["request"]))
        assert peer.receive_frame().hex() == each["reply"], each["seq"]
    for each in TOLD["acknowledged"]:
        peer.send_frame(bytes.fromhex(each["request"]))
        assert answer_of(peer.receive_frame()).body["code"] == "sequence_reused"


def test_a_file_of_schema_1_keeps_its_rows_and_the_replies_of_its_clients(home: Path) -> None:
    put_into(home, FILES["schema-1"])
    before = [read_rows(home, sql) for sql in ROWS + OWN_ROWS]

    with running_daemon(home), asking_again(home) as peer:
        assert [read_rows(home, sql) for sql in ROWS + OWN_ROWS] == before
        assert peer.status()["clients"] == len(TOLD["clients"])
        for _ in range(2):
            check_told(peer)
        seq, args = TOLD["last_seq"], {"id": "nowhere else"}
        answer = peer.exchange("message.delete", args, seq=seq, acked=TOLD["acked"])
        assert answer.body["code"] == "sequence_reused"
        # And the client goes on from there.
        args = {"session_id": "s1", "role": "user", "content": "next"}
        answer = peer.exchange("message.append", args, seq=seq + 1, acked=seq)
        assert (answer.status, answer.body["rev"]) == (0, 17)


def test_a_migrated_file_has_the_schema_of_a_new_one(home: Path, tmp_path: Path) -> None:
    shape = "SELECT name, tbl_name, sql FROM sqlite_schema ORDER BY name"
    put_into(home, FILES["schema-1"])
    new = tmp_path / "new"

    with running_daemon(home), running_daemon(new):
        assert read_rows(home, shape) == read_rows(new, shape)
        assert read_rows(home, "PRAGMA user_version") == read_rows(new, "PRAGMA user_version")


def test_the_frozen_file_is_what_it_says() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as frozen:
        frozen.executescript(FROZEN)
        assert frozen.execute("PRAGMA user_version").fetchone() == (1,)
        assert frozen.execute("PRAGMA foreign_key_check").fetchall() == []
        assert frozen.execute("SELECT count(*) FROM lulu_replies").fetchone() == (13,)
