"""The life of an `AsyncClient`: its end, its loop, forks, and one that is dropped."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luludb_client import (
    AsyncClient,
    DaemonUnavailable,
    LuludbError,
    OutcomeUnknown,
)
from luludb_client.async_watcher import AsyncWatch
from luludb_client.doorbell import Doorbell
from luludb_client.replica import Replica
from luludb_client.testing import Daemon, running_daemon
from tests.system.children import in_child
from tests.system.loops import DEADLINE_S, deaf, run_on, turns


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def run() -> Callable[..., Any]:
    return partial(run_on, "asyncio")


def sockets() -> list[str]:
    """What of this process's descriptors is a socket, or a file of a home."""
    gc.collect()
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(str(Path("/proc/self/fd", descriptor).readlink()))
    return sorted(each for each in found if each.startswith("socket:") or "lulu" in each)


async def use_all(client: AsyncClient) -> str:
    """Use everything that opens something. Returns a session's id."""
    session = await client.create_session("a", "/")
    await (await client.submit("message.append", session_id=session.id, role="u", content=""))
    assert [each async for each in client.list_messages(session.id)]
    assert (await client.status())["pid"]
    assert (await anext(client.watch(after_rev=0))).rev == 1
    return session.id


# The end.


def test_close_leaves_no_descriptor_thread_or_task(daemon: Daemon, run: Callable[..., Any]) -> None:
    async def main() -> None:
        before = sockets(), threading.enumerate(), asyncio.all_tasks()
        for _ in range(3):
            async with AsyncClient(daemon.home) as client:
                await use_all(client)
                watch = client.watch(after_rev=0)
                await anext(watch)
                assert len(sockets()) > len(before[0])

            assert (sockets(), threading.enumerate(), asyncio.all_tasks()) == before

    run(main())


def test_what_waits_at_the_close_ends(daemon: Daemon, run: Callable[..., Any]) -> None:
    async def main() -> None:
        client = AsyncClient(daemon.home, timeout_s=0.5)
        session = await client.create_session("a", "/")
        watch = client.watch()
        with deaf(daemon):
            waiting = [
                asyncio.create_task(client.append_message(session.id, "u", "")) for _ in range(100)
            ]
            next_one = asyncio.create_task(anext(watch))
            await turns()
            await client.close()
            errors = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(error) for error in errors} <= {OutcomeUnknown, DaemonUnavailable}
            with pytest.raises(StopAsyncIteration):
                await next_one
        with pytest.raises(LuludbError, match="closed"):
            await client.append_message(session.id, "u", "")

    run(main())


def test_no_descriptor_is_closed_that_the_loop_looks_at(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    close = Doorbell.close

    async def main() -> None:
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]

        def noted(self: Doorbell) -> None:
            descriptor = self.descriptor
            if descriptor is not None:
                looked_at.append(descriptor in selector.get_map())
            close(self)

        monkeypatch.setattr(Doorbell, "close", noted)
        for end in ("cancel first", "close first", "close alone"):
            client = AsyncClient(daemon.home)
            watch = client.watch("nothing")
            task = asyncio.create_task(anext(watch))
            while watch._waiting is None or watch._doorbell.descriptor is None:
                await asyncio.sleep(0)
            if end == "cancel first":
                task.cancel()
            watch.close()
            if end == "close first":
                task.cancel()
            await asyncio.wait([task])
            assert watch._doorbell.descriptor is None
            await client.close()

    run_on("asyncio", main())

    assert looked_at == [False] * 3


def test_a_watch_that_is_closed_while_it_looks_gives_no_more_changes(
    daemon: Daemon, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    look = Replica.look

    def slow(self: Replica, rev: int | None, session_id: str | None) -> Any:
        entered.set()
        assert leave.wait(DEADLINE_S)
        return look(self, rev, session_id)

    async def main(watch_is_closed_by: str) -> None:
        async with AsyncClient(daemon.home) as client:
            await client.create_session("a", "/")
            watch = client.watch(after_rev=0)
            task = asyncio.create_task(anext(watch))
            await asyncio.to_thread(entered.wait, DEADLINE_S)
            if watch_is_closed_by == "itself":
                watch.close()
                leave.set()
            else:
                closing = asyncio.create_task(client.close())
                await turns()
                leave.set()
                await closing
            with pytest.raises(StopAsyncIteration):
                await task
            with pytest.raises(StopAsyncIteration):
                await anext(watch)

    monkeypatch.setattr(Replica, "look", slow)
    for by in ("itself", "client"):
        entered.clear()
        leave.clear()
        run(main(by))


# Its loop.


def test_on_another_loop_it_says_that_it_belongs_to_the_first(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    before = sockets()
    client = AsyncClient(daemon.home)
    session_id = run(use_all(client))

    async def elsewhere() -> None:
        for call in (
            client.create_session("b", "/"),
            client.append_message(session_id, "u", ""),
            client.submit("session.delete", id=session_id),
            client.flush(),
        ):
            with pytest.raises(LuludbError, match="another event loop"):
                await call
        # Its loop is closed, so nobody else can close it.
        await client.close()

    run(elsewhere())

    assert sockets() == before


def test_a_loop_cannot_close_the_client_of_another_that_goes_on(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session_id = await use_all(client)

            def close_elsewhere() -> None:
                with pytest.raises(LuludbError, match="another event loop"):
                    asyncio.run(client.close())

            await asyncio.to_thread(close_elsewhere)

            assert (await client.append_message(session_id, "u", "on")).content == "on"

    run(main())


def test_two_loops_have_a_client_each(daemon: Daemon) -> None:
    counts: list[int] = []

    def work(kind: str) -> None:
        async def main() -> int:
            async with AsyncClient(daemon.home) as client:
                session = await client.create_session("a", "/")
                await asyncio.gather(
                    *(client.append_message(session.id, "u", "") for _ in range(200))
                )
                return len([each async for each in client.list_messages(session.id)])

        counts.append(run_on(kind, main()))

    threads = [threading.Thread(target=work, args=(kind,)) for kind in ("asyncio", "uvloop") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert counts == [200] * 4


# Forks.


def test_a_forked_child_uses_the_same_object_and_a_new_one_and_the_parent_goes_on(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def child(client: AsyncClient, session_id: str, parents_id: bytes) -> None:
        await asyncio.gather(
            *(client.append_message(session_id, "child", f"{each}") for each in range(20))
        )
        assert client._link is not None
        assert client._link._core.client_id != parents_id
        assert await client.get_session(session_id) is not None
        await (await client.submit("message.append", session_id=session_id, role="c", content=""))
        async with AsyncClient(daemon.home) as other:
            await other.append_message(session_id, "child", "by a new one")
        await client.close()

    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session_id = await use_all(client)
            assert client._link is not None
            link = client._link
            watch = client.watch()
            waiting = asyncio.create_task(anext(watch))
            with deaf(daemon):
                calls = [
                    asyncio.create_task(client.append_message(session_id, "parent", ""))
                    for _ in range(50)
                ]
                await turns()
                parents_id = link._core.client_id
                pid = os.fork()
                if pid == 0:
                    code = 1
                    signal.alarm(DEADLINE_S)
                    try:
                        asyncio.run(child(client, session_id, parents_id))
                        code = 0
                    finally:
                        os._exit(code)
            code = os.waitstatus_to_exitcode(await asyncio.to_thread(lambda: os.waitpid(pid, 0)[1]))
            await asyncio.gather(*calls)
            await client.append_message(session_id, "parent", "")

            assert code == 0
            assert link._core.client_id == parents_id
            roles = [each.role async for each in client.list_messages(session_id)]
            assert (roles.count("parent"), roles.count("child")) == (51, 21)
            assert (await waiting).op == "message.append"

    run(main())


def test_a_child_that_only_closes_or_drops_it_touches_nothing_of_its_parents(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session_id = await use_all(client)
            watch = client.watch(session_id)
            waiting = asyncio.create_task(anext(watch))
            while watch._waiting is None:
                await asyncio.sleep(0)

            def close() -> None:
                asyncio.run(client.close())
                assert watch._doorbell.descriptor is None

            assert await asyncio.to_thread(in_child, close) == 0
            await client.append_message(session_id, "u", "")
            assert (await waiting).op == "message.append"

    run(main())


# Dropped ones.


def test_a_client_that_is_dropped_is_warned_of_and_leaves_no_socket(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    before = sockets()

    async def main() -> None:
        inside = sockets()
        client: AsyncClient | None = AsyncClient(daemon.home)
        await use_all(client)
        with pytest.warns(ResourceWarning, match="unclosed AsyncClient"):
            client = None
        await turns()
        assert sockets() == inside

        AsyncClient(daemon.home)  # one that was never used is not warned of

    run(main())

    client: AsyncClient | None = AsyncClient(daemon.home)
    run(use_all(client))
    with pytest.warns(ResourceWarning, match="unclosed AsyncClient"):
        client = None
    assert sockets() == before


def test_a_watch_that_is_dropped_leaves_no_descriptor(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session_id = await use_all(client)
            before = sockets()
            async for change in client.watch(after_rev=0):
                assert change.rev == 1
                break
            watch: AsyncWatch | None = client.watch("nothing")
            assert watch is not None
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.05)
            watch = None
            assert sockets() == before
            assert await client.get_session(session_id) is not None

    run(main())
