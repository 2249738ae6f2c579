"""`Client.watch` in threads, in forked children, and interrupted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from luludb_client import Client, LuludbError
from luludb_client.testing import Daemon, running_daemon
from tests.system.children import in_child
from tests.system.watching import (
    Watching,
    append,
    create,
    deadline,
    open_files,
    revs,
)


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    with deadline():
        yield


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.home) as client:
        yield client


# Interruption.


def test_an_interrupt_ends_it(client: Client, looks: list[float]) -> None:
    create(client, "s")
    before = open_files()
    watch = client.watch()
    main_thread_id = threading.main_thread().ident
    assert main_thread_id is not None

    def interrupt() -> None:
        while len(looks) < 2:  # one at the call, and one inside next()
            time.sleep(0.001)
        signal.pthread_kill(main_thread_id, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()

    with pytest.raises(KeyboardInterrupt):
        next(watch)

    interrupter.join()
    with pytest.raises(StopIteration):
        next(watch)
    assert open_files() == before


# Threads and forks.


@pytest.mark.usefixtures("notices_alone")
def test_threads_watch_over_connections_of_their_own(client: Client) -> None:
    threads_before = threading.active_count()
    watchings = [Watching(client.watch()) for _ in range(12)]
    assert threading.active_count() == threads_before + 12
    create(client, "s")
    append(client, "s", 50)

    for watching in watchings:
        assert watching.revs_through(51) == list(range(1, 52))
    client.close()
    for watching in watchings:
        assert watching.ended() is None


@pytest.mark.usefixtures("notices_alone")
def test_parent_and_forked_child_both_go_on_from_where_the_watch_was(client: Client) -> None:
    watch = client.watch()
    create(client, "s")
    assert next(watch).rev == 1

    def work() -> None:
        append(client, "s")
        assert revs(watch, 2) == [2, 3]
        append(client, "s")
        assert next(watch).rev == 4
        client.close()

    append(client, "s")
    code = in_child(work)

    assert code == 0
    assert revs(watch, 3) == [2, 3, 4]  # the child took none of its notices
    watch.close()


@pytest.mark.usefixtures("notices_alone")
def test_a_child_may_close_what_a_thread_of_its_parent_waits_for(client: Client) -> None:
    create(client, "s")
    watch = client.watch(after_rev=0)
    watching = Watching(watch)
    watching.revs_through(1)

    def work() -> None:
        with pytest.raises(LuludbError, match="in use by another thread at the fork"):
            next(watch)
        client.close()

    code = in_child(work)
    append(client, "s")

    assert code == 0
    assert watching.revs_through(2) == [2]
    client.close()
    assert watching.ended() is None
