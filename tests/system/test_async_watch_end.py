"""How a watch of `AsyncClient` ends: at once, whatever it is in, with nothing left in the loop."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from luludb_client import AsyncClient, Client
from luludb_client.replica import Replica
from luludb_client.testing import Daemon, running_daemon

DEADLINE_S = 20


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


def test_a_watch_that_is_closed_during_a_look_gives_none_of_what_it_brings(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_inside, goes_on = threading.Event(), threading.Event()
    look = Replica.look

    def slow_look(self: Replica, rev: int | None, session_id: str | None) -> object:
        found = look(self, rev, session_id)
        is_inside.set()
        assert goes_on.wait(DEADLINE_S)
        return found

    async def close_during_a_look() -> None:
        async with AsyncClient(daemon.home) as client:
            watch = client.watch(after_rev=0)
            first = asyncio.create_task(anext(watch))
            assert await asyncio.to_thread(is_inside.wait, DEADLINE_S)
            watch.close()
            goes_on.set()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(first, DEADLINE_S)
            with pytest.raises(StopAsyncIteration):
                await anext(watch)

    with Client(daemon.home) as writer:
        writer.create_session("n", "/")
    monkeypatch.setattr(Replica, "look", slow_look)
    asyncio.run(close_during_a_look())


def test_a_watch_that_is_closed_when_it_has_just_been_rung_leaves_other_readers_alone(
    daemon: Daemon,
) -> None:
    async def close_when_rung() -> None:
        loop = asyncio.get_running_loop()
        heard: set[int] = set()
        sockets: list[socket.socket] = []

        def close_and_read_from_others() -> None:
            watch.close()
            for _ in range(20):  # one of them gets a descriptor's number that became free
                sockets.extend(socket.socketpair())
            for number, each in enumerate(sockets):
                loop.add_reader(each, heard.add, number)

        async with AsyncClient(daemon.home) as client:
            watch = client.watch(after_rev=0)
            with Client(daemon.home) as writer:
                session = writer.create_session("n", "/")
                assert (await anext(watch)).rev == 1
                for rev in range(2, 30):  # until it waits for notices alone
                    writer.append_message(session.id, "user", "")
                    assert (await anext(watch)).rev == rev
                waiting = asyncio.create_task(anext(watch))
                await asyncio.sleep(0)
                writer.append_message(session.id, "user", "")
            rung = [watch._doorbell.descriptor]
            assert select.select(rung, [], [], DEADLINE_S)[0] == rung
            # The loop is behind: in its next turn the notice is noted, in the one after this runs,
            # and then the task goes on.
            loop.call_soon(loop.call_soon, close_and_read_from_others)
            with pytest.raises(StopAsyncIteration):
                await waiting
            for each in sockets:
                each.send(b"\0")
            async with asyncio.timeout(DEADLINE_S):
                while len(heard) < len(sockets):
                    await asyncio.sleep(0)
            for each in sockets:
                loop.remove_reader(each)
                each.close()

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(close_when_rung())
