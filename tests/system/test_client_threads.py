"""The Python client in several threads, in forked children, and interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from luludb_client import Client, DaemonUnavailable, LuludbError, OutcomeUnknown
from luludb_client.testing import Daemon, running_daemon
from tests.system.children import in_child


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.home) as client:
        yield client


@pytest.fixture
def session_id(client: Client) -> str:
    return client.create_session("a", "/").id


def contents(client: Client, session_id: str) -> list[str]:
    return [each.content for each in client.list_messages(session_id)]


def append(client: Client, session_id: str, content: str = "") -> Future[dict[str, Any]]:
    return client.submit("message.append", session_id=session_id, role="user", content=content)


# Threads.


def test_blocking_calls_run_no_thread_and_the_first_submit_runs_one(
    client: Client, session_id: str
) -> None:
    before = threading.active_count()

    client.append_message(session_id, "user", "")
    without = threading.active_count()
    for _ in range(10):
        append(client, session_id).result()

    assert without == before
    assert threading.active_count() == before + 1
    client.close()
    assert threading.active_count() == before


def test_threads_share_a_client(client: Client) -> None:
    def work(number: int) -> list[str]:
        session = client.create_session(f"{number}", "/")
        for each in range(100):
            client.append_message(session.id, "user", f"{each}")
        return contents(client, session.id)

    with ThreadPoolExecutor(16) as pool:
        listed = list(pool.map(work, range(16)))

    assert listed == [[f"{each}" for each in range(100)]] * 16


def test_blocking_and_submitting_threads_share_a_client(client: Client) -> None:
    def block(session_id: str) -> list[str]:
        for each in range(100):
            client.append_message(session_id, "user", f"{each}")
        return contents(client, session_id)

    def submit(session_id: str) -> list[str]:
        for each in range(100):
            append(client, session_id, f"{each}")
        client.flush()
        return contents(client, session_id)

    sessions = [client.create_session("s", "/").id for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        listed = list(pool.map(lambda work, each: work(each), [block, submit] * 4, sessions))

    assert listed == [[f"{each}" for each in range(100)]] * 8


def test_a_callback_of_a_future_may_use_the_client(client: Client, session_id: str) -> None:
    done = threading.Event()
    seen: list[object] = []

    def call_back(future: Future[dict[str, Any]]) -> None:
        seen.append(client.append_message(session_id, "user", "from the callback"))
        seen.append(append(client, session_id, "submitted from it"))
        client.flush()
        done.set()

    append(client, session_id, "first").add_done_callback(call_back)

    assert done.wait(10)
    client.flush()
    assert contents(client, session_id) == ["first", "from the callback", "submitted from it"]


def test_a_callback_that_takes_its_time_keeps_nobody_from_writing(
    client: Client, session_id: str
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def call_back(_: object) -> None:
        entered.set()
        leave.wait(10)

    append(client, session_id).add_done_callback(call_back)
    assert entered.wait(10)

    message = client.append_message(session_id, "user", "meanwhile")
    leave.set()

    assert client.get_message(message.id) == message


def test_a_client_may_be_closed_in_a_callback(daemon: Daemon, session_id: str) -> None:
    client = Client(daemon.home)
    closed = threading.Event()

    def call_back(_: object) -> None:
        client.close()
        closed.set()

    append(client, session_id).add_done_callback(call_back)

    assert closed.wait(10)
    client.close()


def test_closing_does_not_wait_for_ever_for_a_callback(daemon: Daemon, session_id: str) -> None:
    client = Client(daemon.home, timeout_s=0.2)
    entered, leave = threading.Event(), threading.Event()

    def call_back(_: object) -> None:
        entered.set()
        leave.wait(30)

    append(client, session_id).add_done_callback(call_back)
    assert entered.wait(10)
    closer = threading.Thread(target=client.close)
    closer.start()
    closer.join(10)
    is_closed = not closer.is_alive()
    leave.set()
    closer.join()

    assert is_closed


def test_closing_ends_calls_of_other_threads(daemon: Daemon, session_id: str) -> None:
    client = Client(daemon.home, timeout_s=0.5)
    client.get_session(session_id)
    errors: list[LuludbError] = []

    def work() -> None:
        try:
            while True:
                client.append_message(session_id, "user", "")
        except LuludbError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline_s = time.monotonic() + 5
    while not contents(client, session_id) and time.monotonic() < deadline_s:
        pass

    client.close()
    for thread in threads:
        thread.join(5)

    assert len(errors) == 4
    assert {error.code for error in errors} <= {"closed", "outcome_unknown"}


def test_a_submitted_command_cannot_be_cancelled(client: Client, session_id: str) -> None:
    future = append(client, session_id)

    assert not future.cancel()
    assert future.result()["message"]["session_id"] == session_id


# Interruption.


# An exception between the making of a socket and its first use leaves it to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupted_call_leaves_the_client_in_order(
    daemon: Daemon, client: Client, session_id: str
) -> None:
    class Interruption(Exception):
        pass

    is_armed = False

    def interrupt(*_: object) -> None:
        if is_armed:
            raise Interruption

    previous = signal.signal(signal.SIGALRM, interrupt)
    answered = 0
    try:
        for each in range(300):
            # Now and then in the middle of a call, at any place in it.
            is_armed = False
            signal.setitimer(signal.ITIMER_REAL, 0.0001 * (1 + each % 17))
            with contextlib.suppress(Interruption):
                try:
                    is_armed = True
                    client.append_message(session_id, "user", f"{each}")
                    answered += 1
                finally:
                    is_armed = False
    finally:
        is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    client.append_message(session_id, "user", "last")

    listed = contents(client, session_id)
    numbers = [int(each) for each in listed[:-1]]
    assert listed[-1] == "last"
    assert numbers == sorted(set(numbers))
    assert answered <= len(numbers) <= 300
    assert answered < 300


@pytest.mark.parametrize("after_s", [0.02, 0.2], ids=["alone", "leading"])
def test_a_signal_handler_in_the_middle_of_a_call_is_told_so_at_once(
    daemon: Daemon, client: Client, session_id: str, after_s: float
) -> None:
    """It would wait for the call that waits for it."""
    handled: list[object] = []

    def use_the_client(*_: object) -> None:
        try:
            handled.append(client.append_message(session_id, "user", "nested"))
        except LuludbError as error:
            handled.append(error.code)
        os.kill(daemon.pid, signal.SIGCONT)

    previous = signal.signal(signal.SIGALRM, use_the_client)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        client.append_message(session_id, "user", "outer")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        os.kill(daemon.pid, signal.SIGCONT)

    assert handled == ["nested"]
    assert contents(client, session_id) == ["outer"]


def test_an_interruption_on_the_way_back_to_the_lock_leaves_it_to_who_holds_it(
    daemon: Daemon, client: Client, session_id: str
) -> None:
    class Interruption(Exception):
        pass

    is_armed = True

    def interrupt(*_: object) -> None:
        if is_armed:
            raise Interruption

    lock = client._link()._lock
    owned: list[bool] = []

    def hold() -> None:
        with lock:
            # The first one ends the poll, and what follows comes while the lock is waited for.
            deadline_s = time.monotonic() + 0.2
            while time.monotonic() < deadline_s:
                os.kill(os.getpid(), signal.SIGALRM)
            owned.append(lock._is_owned())

    holder = threading.Timer(0.2, hold)
    previous = signal.signal(signal.SIGALRM, interrupt)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        holder.start()
        with contextlib.suppress(Interruption):
            client.append_message(session_id, "user", "interrupted")
    finally:
        is_armed = False
        os.kill(daemon.pid, signal.SIGCONT)
        holder.join()
        signal.signal(signal.SIGALRM, previous)

    assert owned == [True]
    assert client.append_message(session_id, "user", "last").content == "last"


def test_a_submit_that_finds_no_room_for_a_thread_is_no_end(
    client: Client, session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            append(client, session_id, "too early")

    assert append(client, session_id, "later").result(10)["rev"]
    client.close()


# Forks.


def test_a_forked_child_writes_and_reads_over_connections_of_its_own(
    client: Client, session_id: str
) -> None:
    client.append_message(session_id, "user", "parent")

    def work() -> None:
        client.append_message(session_id, "user", "child")
        assert contents(client, session_id) == ["parent", "child"]
        client.close()

    code = in_child(work)
    client.append_message(session_id, "user", "parent again")

    assert code == 0
    assert contents(client, session_id) == ["parent", "child", "parent again"]


def test_a_child_may_close_what_it_never_used(client: Client, session_id: str) -> None:
    append(client, session_id, "parent").result()
    client.get_session(session_id)

    code = in_child(client.close)
    client.append_message(session_id, "user", "parent again")

    assert code == 0
    assert contents(client, session_id) == ["parent", "parent again"]


def test_a_child_of_a_process_that_submits_has_a_reader_of_its_own(
    client: Client, session_id: str
) -> None:
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            append(client, session_id, "parent")

    submitter = threading.Thread(target=submit)
    submitter.start()
    codes = []
    try:
        for number in range(5):

            def work(number: int = number) -> None:
                futures = [append(client, session_id, f"{number} {each}") for each in range(20)]
                client.flush()
                assert all(future.result() for future in futures)
                client.append_message(session_id, "user", f"{number} last")

            codes.append(in_child(work))
    finally:
        stop.set()
        submitter.join()
    client.flush()

    written = [each for each in contents(client, session_id) if each != "parent"]
    assert codes == [0] * 5
    expected = [
        [f"{number} {each}" for each in range(20)] + [f"{number} last"] for number in range(5)
    ]
    assert written == [each for part in expected for each in part]


def test_a_child_that_finds_no_daemon_says_so(daemon: Daemon) -> None:
    client = Client(daemon.home / "nobody", timeout_s=0.2)

    def work() -> None:
        with pytest.raises((DaemonUnavailable, OutcomeUnknown)):
            client.create_session("a", "/")

    assert in_child(work) == 0
    client.close()
