"""Both Python clients while the daemon is absent, dead, deaf, or not what it was."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luludb_client import (
    Busy,
    Client,
    DaemonUnavailable,
    DataLoss,
    LuludbError,
    OutcomeUnknown,
)
from luludb_client.testing import Daemon, running_daemon
from tests.system.loops import deaf

LATE_S = 0.5  # how much later than its timeout a call may end, on a busy machine


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@contextlib.contextmanager
def timed(least_s: float, most_s: float) -> Iterator[None]:
    started_s = time.monotonic()
    yield
    assert least_s <= time.monotonic() - started_s <= most_s


def contents(client: Client, session_id: str) -> list[str]:
    return [each.content for each in client.list_messages(session_id)]


# No daemon.


def test_without_a_daemon_a_write_waits_for_its_timeout_and_says_how_to_start_one(
    tmp_path: Path,
    make_client: Callable[..., Client],
) -> None:
    with (
        make_client(tmp_path, timeout_s=0.4) as client,
        timed(0.4, 0.4 + LATE_S),
        pytest.raises(DaemonUnavailable, match=f"luludb start --home {tmp_path}"),
    ):
        client.create_session("a", "/")


def test_without_a_daemon_ping_and_status_fail_at_once(
    tmp_path: Path, make_client: Callable[..., Client]
) -> None:
    with make_client(tmp_path) as client:
        for call in (client.ping, client.status):
            with timed(0, LATE_S), pytest.raises(DaemonUnavailable, match="luludb start"):
                call()


def test_what_a_killed_daemon_left_behind_does_not_look_like_one(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    daemon.kill()

    with make_client(daemon.home) as client, timed(0, LATE_S), pytest.raises(DaemonUnavailable):
        client.ping()


def test_reads_need_no_daemon(daemon: Daemon, make_client: Callable[..., Client]) -> None:
    with make_client(daemon.home) as client:
        session = client.create_session("a", "/")
        client.append_message(session.id, "user", "hi")

        for end in (daemon.kill, daemon.stop):
            end()

            assert client.get_session(session.id) == session
            assert contents(client, session.id) == ["hi"]
            with make_client(daemon.home) as other:
                assert contents(other, session.id) == ["hi"]
            daemon.start()


def test_a_write_waits_for_a_daemon_that_comes_in_time(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    daemon.stop()
    starter = threading.Timer(0.3, daemon.start)
    starter.start()

    with make_client(daemon.home) as client:
        session = client.create_session("a", "/")
        starter.join()

        assert client.get_session(session.id) == session


# A daemon that dies.


@pytest.mark.parametrize("end", [Daemon.kill, Daemon.stop], ids=["kill", "stop"])
def test_a_restart_between_two_writes_costs_nothing_but_time(
    daemon: Daemon, make_client: Callable[..., Client], end: Callable[[Daemon], None]
) -> None:
    with make_client(daemon.home) as client:
        session = client.create_session("a", "/")
        for number in range(3):
            client.append_message(session.id, "user", f"{number}")
            end(daemon)
            daemon.start()

        assert contents(client, session.id) == ["0", "1", "2"]


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_kills_in_the_middle_lose_double_and_reorder_nothing(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home, timeout_s=30) as client:
        session = client.create_session("a", "/")
        futures = []
        done = threading.Event()

        def restart() -> None:
            for _ in range(6):
                if not done.wait(0.15):
                    daemon.kill()
                    daemon.start()

        restarter = threading.Thread(target=restart)
        restarter.start()
        for number in range(6_000):
            futures.append(
                client.submit(
                    "message.append", session_id=session.id, role="user", content=f"{number}"
                )
            )
            if number % 10 == 0:
                futures[-1].result()
        client.flush()
        done.set()
        restarter.join()

        assert contents(client, session.id) == [f"{number}" for number in range(6_000)]
        assert len({future.result()["rev"] for future in futures}) == 6_000


# A daemon that does not answer.


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_deaf_daemon_leaves_the_outcome_unknown_and_the_command_is_applied_once(
    daemon: Daemon,
    make_client: Callable[..., Client],
) -> None:
    with make_client(daemon.home, timeout_s=0.5) as client:
        session = client.create_session("a", "/")
        with deaf(daemon), timed(0.5, 0.5 + LATE_S), pytest.raises(OutcomeUnknown) as caught:
            client.append_message(session.id, "user", "first", id="first")

        client.append_message(session.id, "user", "second")

        assert (caught.value.id, caught.value.seq) == ("first", 2)
        assert contents(client, session.id) == ["first", "second"]


def test_a_deaf_daemon_is_not_waited_for_longer_than_the_timeout(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with deaf(daemon), make_client(daemon.home, timeout_s=0.4) as client:
        with timed(0.4, 0.4 + LATE_S), pytest.raises(DaemonUnavailable, match=str(daemon.pid)):
            client.create_session("a", "/")
        with timed(0.4, 0.4 + LATE_S), pytest.raises(DaemonUnavailable, match=str(daemon.pid)):
            client.ping()


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_submit_waits_for_room_and_not_longer_than_the_timeout(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home, timeout_s=0.5) as client:
        client.ping()
        session = client.create_session("a", "/")
        with deaf(daemon):
            futures = [
                client.submit("message.append", session_id=session.id, role="user", content="")
                for _ in range(256)
            ]
            with timed(0.1, 0.5 + LATE_S):
                futures.append(
                    client.submit("message.append", session_id=session.id, role="user", content="")
                )
            with timed(0, 0.5 + LATE_S):
                client.flush()

        errors = [future.exception() for future in futures]
        assert all(isinstance(each, (OutcomeUnknown, DaemonUnavailable)) for each in errors)
        client.append_message(session.id, "user", "last")
        assert contents(client, session.id)[-1] == "last"


def test_close_ends_what_is_open_and_what_was_never_sent(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    client = make_client(daemon.home, timeout_s=0.5)
    session = client.create_session("a", "/")
    with deaf(daemon):
        futures = [
            client.submit("message.append", session_id=session.id, role="user", content="")
            for _ in range(50)
        ]
        with timed(0, 0.5 + LATE_S):
            client.close()

    kinds = {type(future.exception(timeout=0)) for future in futures}
    assert OutcomeUnknown in kinds
    assert kinds <= {OutcomeUnknown, DaemonUnavailable}


def test_close_waits_for_what_was_submitted(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    client = make_client(daemon.home)
    session = client.create_session("a", "/")
    futures = [
        client.submit("message.append", session_id=session.id, role="user", content="")
        for _ in range(200)
    ]

    client.close()

    assert all(future.result(timeout=0)["rev"] for future in futures)


def test_a_peer_that_is_no_daemon_is_no_daemon(
    tmp_path: Path, make_client: Callable[..., Client], short_directory: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    path = short_directory / f"{tmp_path.name}.sock"
    (run / "daemon.json").write_text(
        '{"pid": 1, "boot_id": "b", "version": "0", "protocol": 1,'
        f' "command": "ipc://{path}", "changes": "ipc://{path}"}}'
    )
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        answering = threading.Event()

        def answer() -> None:
            listener.settimeout(0.05)
            while not answering.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        answerer = threading.Thread(target=answer)
        answerer.start()
        try:
            with make_client(tmp_path, timeout_s=0.4) as client:
                for call in (client.ping, lambda: client.create_session("a", "/")):
                    with timed(0, 0.4 + LATE_S), pytest.raises(DaemonUnavailable):
                        call()
        finally:
            answering.set()
            answerer.join()


# Another program.


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_lock_that_another_program_holds_is_waited_for(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home) as client:
        session = client.create_session("a", "/")
        with contextlib.closing(sqlite3.connect(daemon.home / "lulu.db")) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            future = client.submit(
                "message.append", session_id=session.id, role="user", content="x"
            )
            with pytest.raises(TimeoutError):
                future.result(timeout=0.3)
            foreign.rollback()

            assert future.result()["rev"] == 2


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_lock_that_another_program_keeps_is_busy_in_time(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home, timeout_s=8) as client:
        session = client.create_session("a", "/")
        with contextlib.closing(sqlite3.connect(daemon.home / "lulu.db")) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            with timed(0, 8 + LATE_S), pytest.raises(Busy):
                client.append_message(session.id, "user", "x")
            foreign.rollback()

        client.append_message(session.id, "user", "y")

        assert contents(client, session.id) == ["y"]


# Another database.


def test_another_database_is_data_loss_for_a_client_that_knew_the_first(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home) as client:
        client.create_session("a", "/")
        daemon.stop()
        for file in daemon.home.glob("lulu.db*"):
            file.unlink()
        daemon.start()
        with make_client(daemon.home) as other:
            # The new database has gone further than the first, so that nothing but its id tells.
            for _ in range(3):
                other.create_session("b", "/")

            for _ in range(2):
                with timed(0, 3), pytest.raises(DataLoss, match="a backup was restored"):
                    client.create_session("c", "/")
            with pytest.raises(DataLoss):
                client.submit("session.create", name="d", working_dir="/")
            assert [session.name for session in other.list_sessions()] == ["b"] * 3
            assert other.create_session("b", "/").name == "b"


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_database_that_went_back_to_an_earlier_state_is_data_loss(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home) as client:
        session = client.create_session("a", "/")
        daemon.stop()
        before = {file: file.read_bytes() for file in daemon.home.glob("lulu.db*")}
        daemon.start()
        client.append_message(session.id, "user", "lost")
        daemon.stop()
        for file in daemon.home.glob("lulu.db*"):
            file.unlink()
        for file, content in before.items():
            file.write_bytes(content)
        daemon.start()

        with pytest.raises(DataLoss):
            client.append_message(session.id, "user", "next")


def test_errors_are_one_family() -> None:
    for error in (Busy, DaemonUnavailable, DataLoss, OutcomeUnknown):
        assert issubclass(error, LuludbError)
        assert error.code
