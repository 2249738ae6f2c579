"""A reader that holds a snapshot all along: the log grows, and shrinks once the reader leaves."""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from luludb_client import Client, Overloaded
from luludb_client.testing import Daemon, running_daemon
from tests import foreign

MESSAGES = 6000
CONTENT = "x" * 3000
WRITERS = 4
SHORT_LOG_BYTES = 2 << 20
DEADLINE_S = 30  # for hanging; the daemon looks every two seconds


@contextlib.contextmanager
def snapshot(home: Path) -> Iterator[sqlite3.Connection]:
    """A connection that has begun to read and does not end."""
    uri = f"file:{quote(str(home / 'lulu.db'))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        yield reader


def append(client: Client, session_id: str, count: int) -> list[float]:
    """Append pipelined, and return the time of a blocking one now and then, in ms."""
    latencies_ms = []
    for number in range(count):
        if number % 50:
            client.submit("message.append", session_id=session_id, role="user", content=CONTENT)
            continue
        client.flush()
        started_s = time.perf_counter()
        client.append_message(session_id, "user", CONTENT)
        latencies_ms.append((time.perf_counter() - started_s) * 1000)
    client.flush()
    return latencies_ms


def wait_for(client: Client, is_so: Callable[[dict[str, Any]], bool]) -> float:
    """How many seconds it took until the status figures were so."""
    started_s = time.monotonic()
    while not is_so(client.status()):
        assert time.monotonic() < started_s + DEADLINE_S
    return time.monotonic() - started_s


def test_a_log_that_a_reader_made_long_is_named_and_shrinks_when_the_reader_leaves() -> None:
    with (
        running_daemon(env={"LULUDB_WAL_BYTES_MAX": "64 MiB"}) as daemon,
        Client(daemon.home) as client,
    ):
        session = client.create_session("n", "/w")
        before_ms = append(client, session.id, MESSAGES)
        with snapshot(daemon.home) as reader:
            beside_ms = append(client, session.id, MESSAGES)
            grown = client.status()["wal_bytes"]
            reader.execute("COMMIT")
        shrunk_s = wait_for(client, lambda status: status["wal_bytes"] <= 16 << 20)
        print(
            f"log {grown} bytes, short again after {shrunk_s:.1f} s; blocking append p50, ms:"
            f" {statistics.median(before_ms):.2f} before, {statistics.median(beside_ms):.2f} beside"
        )

        assert grown > 16 << 20
        assert len(list(client.list_messages(session.id))) == 2 * MESSAGES


def test_a_log_at_its_bound_is_overloaded_until_the_reader_leaves(
    daemon_with_a_short_log: Daemon,
) -> None:
    with Client(daemon_with_a_short_log.home, timeout_s=20) as client:
        session = client.create_session("n", "/w")
        with snapshot(daemon_with_a_short_log.home) as reader:
            futures: list[Future[dict[str, Any]]] = []
            while not client.status()["commands_refused_total"]:
                assert len(futures) < MESSAGES
                futures += [
                    client.submit(
                        "message.append", session_id=session.id, role="u", content=CONTENT
                    )
                    for _ in range(50)
                ]
                sent = 1 + len(futures)
                wait_for(
                    client,
                    lambda status, sent=sent: (
                        status["commands_refused_total"] > 0 or status["last_rev"] == sent
                    ),
                )
            reader.execute("COMMIT")
        client.flush()

        assert all("rev" in future.result() for future in futures)
        assert len(list(client.list_messages(session.id))) == len(futures)


def test_the_process_that_keeps_the_log_long_is_named_and_writes_go_on_once_it_left(
    daemon_with_a_short_log: Daemon,
) -> None:
    daemon = daemon_with_a_short_log
    over = threading.Event()

    def write_until_over(number: int) -> int:
        """How many messages were acknowledged; no write may fail, however long it waits."""
        with Client(daemon.home, timeout_s=2 * DEADLINE_S) as client:
            session = client.create_session(f"{number}", "/w")
            while not over.is_set():
                client.append_message(session.id, "user", CONTENT)
            return len(list(client.list_messages(session.id)))

    with (
        Client(daemon.home, timeout_s=1) as impatient,
        ThreadPoolExecutor(WRITERS) as pool,
        ending(over),
    ):
        session = impatient.create_session("n", "/w")
        with foreign.reading(daemon.home) as reader_pid:
            writers = [pool.submit(write_until_over, number) for number in range(WRITERS)]
            refusal = overload_met(impatient, session.id)
            # A refusal is in the log as well, and says "It cannot shrink".
            wait_for_line(daemon, f" bytes and cannot shrink while pid {reader_pid} ")
        refused = impatient.status()["last_rev"]
        shrunk_s = wait_for(impatient, lambda status: status["wal_bytes"] < SHORT_LOG_BYTES)
        went_on_s = wait_for(impatient, lambda status: status["last_rev"] > refused + 2 * WRITERS)
        impatient.append_message(session.id, "user", "last")
        over.set()
        written = [writer.result(DEADLINE_S) for writer in writers]

    print(f"log short {shrunk_s:.1f} s after the reader left, and writes went on {went_on_s:.1f} s")
    assert f"while pid {reader_pid} (" in refusal.message
    assert f"the most is {SHORT_LOG_BYTES}" in refusal.message
    assert "the write-ahead log has" in refusal.message
    assert all(written)


@contextlib.contextmanager
def ending(over: threading.Event) -> Iterator[None]:
    """Let the writers end even where the test fails, or their pool would wait for them."""
    try:
        yield
    finally:
        over.set()


def overload_met(client: Client, session_id: str) -> Overloaded:
    """Append until that is refused as overloaded; any other error fails the test."""
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        try:
            client.append_message(session_id, "user", CONTENT)
        except Overloaded as error:
            return error
    raise AssertionError("no command was overloaded")


def wait_for_line(daemon: Daemon, text: str) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while text not in daemon.stderr():
        assert time.monotonic() < until_s, f"{text!r} is not in the log: {daemon.stderr()}"
        time.sleep(0.05)


@pytest.fixture
def daemon_with_a_short_log() -> Iterator[Daemon]:
    with running_daemon(env={"LULUDB_WAL_BYTES_MAX": f"{SHORT_LOG_BYTES}"}) as daemon:
        yield daemon
