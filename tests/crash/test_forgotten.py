"""A client that slept for so long that the daemon has forgotten it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator

import pytest

from luludb_client import Client, OutcomeUnknown
from luludb_client.testing import Daemon, running_daemon

THREE_DAYS_S = 3 * 24 * 60 * 60


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon(env={"LULUDB_CLIENT_DAYS_KEPT": "1"}) as started:
        yield started


def run_for_three_days(daemon: Daemon) -> None:
    """Let a stopped daemon believe that it ran for three days more, and start it."""
    with contextlib.closing(sqlite3.connect(daemon.home / "lulu.db")) as connection, connection:
        connection.execute(
            """INSERT INTO lulu_meta VALUES ('running_s', ?1)
            ON CONFLICT (key) DO UPDATE SET value = value + ?1""",
            (THREE_DAYS_S,),
        )
    daemon.start()
    with Client(daemon.home) as witness:
        witness.create_session("after the daemon has looked for clients to forget", "/w")


def contents(client: Client, session_id: str) -> list[str]:
    return [message.content for message in client.list_messages(session_id)]


def known_clients(daemon: Daemon) -> int:
    uri = f"file:{daemon.home / 'lulu.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM lulu_clients").fetchone()
        return int(count)


def test_one_with_nothing_open_notices_nothing(daemon: Daemon) -> None:
    with Client(daemon.home) as sleeper:
        session = sleeper.create_session("n", "/w")
        sleeper.append_message(session.id, "user", "before")
        daemon.stop()
        run_for_three_days(daemon)
        assert known_clients(daemon) == 1

        sleeper.append_message(session.id, "user", "after")

        assert contents(sleeper, session.id) == ["before", "after"]


def test_what_was_open_has_no_known_outcome_and_is_never_sent_again(daemon: Daemon) -> None:
    with Client(daemon.home, timeout_s=1.5) as sleeper:
        session = sleeper.create_session("n", "/w")
        os.kill(daemon.pid, signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            sleeper.append_message(session.id, "user", "open")
        daemon.kill()
        run_for_three_days(daemon)

        sleeper.append_message(session.id, "user", "after")

        assert contents(sleeper, session.id) == ["after"]
        sleeper.append_message(session.id, "user", "and on")
        assert contents(sleeper, session.id) == ["after", "and on"]
