"""Clients that come and go by the thousand, in threads and in forked children, leave nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luludb_client import AsyncClient, Client
from luludb_client.testing import Daemon, running_daemon

CLIENTS = 1_000
THREADS = 8
FORKS = 25


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


def left() -> tuple[int, int]:
    """How many descriptors and threads this process has."""
    return len(os.listdir("/dev/fd")), threading.active_count()


def use(home: Path) -> None:
    """Make a client, write and read once, and close it."""
    with Client(home) as client:
        session = client.create_session("a", "/")
        assert client.get_session(session.id) == session


def use_with_a_reader(home: Path) -> None:
    """The same with a thread of the client's, and a watch."""
    with Client(home) as client:
        session = client.create_session("a", "/")
        watch = client.watch(session.id)
        client.submit("session.update", id=session.id, status="done").result()
        assert next(watch).op == "session.update"


async def use_async(home: Path) -> None:
    async with AsyncClient(home) as client:
        session = await client.create_session("a", "/")
        assert await client.get_session(session.id) == session


def test_a_thousand_clients_one_after_the_other_leave_nothing(daemon: Daemon) -> None:
    before = left()

    for _ in range(CLIENTS):
        use(daemon.home)

    assert left() == before


def test_a_thousand_asyncio_clients_on_one_loop_leave_nothing(daemon: Daemon) -> None:
    async def main() -> None:
        before = left()
        for _ in range(CLIENTS // 10):
            await asyncio.gather(*(use_async(daemon.home) for _ in range(10)))
        assert left() == before

    asyncio.run(main())


def test_clients_of_many_threads_leave_nothing(daemon: Daemon) -> None:
    before = left()

    with ThreadPoolExecutor(THREADS) as pool:
        for work in (use, use_with_a_reader):
            for made in [pool.submit(work, daemon.home) for _ in range(10 * THREADS)]:
                made.result()

    assert left() == before


@pytest.mark.parametrize("work", [use, use_with_a_reader])
def test_children_leave_nothing_with_their_parent_or_in_themselves(
    daemon: Daemon, work: Callable[[Path], None]
) -> None:
    with Client(daemon.home) as client:
        session = client.create_session("a", "/")
        client.submit("session.update", id=session.id, status="begun").result()
        before = left()
        for _ in range(FORKS):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    at_first = left()
                    work(daemon.home)  # a client of the child's own
                    assert left() == at_first
                    client.append_message(session.id, "child", "")  # its parent's
                    client.submit("session.update", id=session.id, status="on").result()
                    client.close()
                    # The parent's socket, and what rang for its reader, are not kept open here.
                    assert left()[0] <= at_first[0]
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            client.append_message(session.id, "parent", "")
        assert left() == before

        roles = [message.role for message in client.list_messages(session.id)]
        assert roles == ["child", "parent"] * FORKS
