"""Tasks that use an `AsyncClient` are cancelled, at every place where they may wait."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from luludb_client import AsyncClient, DaemonUnavailable, OutcomeUnknown
from luludb_client.replica import Replica
from luludb_client.testing import Daemon, running_daemon
from tests.system.loops import DEADLINE_S, deaf, run_on, turns

WINDOW = 256
CANCELLATIONS = 100


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def run() -> Callable[..., Any]:
    return partial(run_on, "asyncio")


async def contents(client: AsyncClient, session_id: str) -> list[str]:
    return [each.content async for each in client.list_messages(session_id)]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and see it end so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def submit(client: AsyncClient, session_id: str, content: str) -> asyncio.Future[Any]:
    return await client.submit(
        "message.append", session_id=session_id, role="user", content=content
    )


# Writes.


def test_a_command_that_was_not_sent_yet_is_never_applied(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as other, AsyncClient(daemon.home) as client:
            session = await other.create_session("a", "/")
            with deaf(daemon):  # no hello is answered, so nothing is sent
                for each in range(5):
                    call = asyncio.create_task(client.append_message(session.id, "u", f"{each}"))
                    await turns()
                    if each % 2:
                        await cancelled(call)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.append_message(session.id, "u", "5"), 0.01)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await client.append_message(session.id, "u", "6")
                async with asyncio.timeout(0.01) as timeout:
                    future = await submit(client, session.id, "7")  # it is in line at once
                assert not timeout.expired()
            await future

            assert await contents(client, session.id) == ["0", "2", "4", "7"]

    run(main())


def test_a_command_that_was_sent_is_applied_once_and_in_its_place(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                for each in range(4):
                    call = asyncio.create_task(client.append_message(session.id, "u", f"{each}"))
                    await turns()
                    await cancelled(call)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.append_message(session.id, "u", "4"), 0.01)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await client.append_message(session.id, "u", "5")
            await client.append_message(session.id, "u", "6")

            found = await contents(client, session.id)
            # Frames that the daemon may have on its way make those behind them wait to be sent.
            assert found == sorted(set(found))
            assert found[0] == "0"
            assert found[-1] == "6"

    run(main())


def test_a_transaction_that_is_cancelled_at_its_end_is_applied_whole_or_not_at_all(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def write(client: AsyncClient, session_id: str) -> None:
        async with client.transaction() as transaction:
            for each in range(3):
                transaction.append_message(session_id, "u", f"{each}")

    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                call = asyncio.create_task(write(client, session.id))
                await turns()
                await cancelled(call)
            await client.append_message(session.id, "u", "3")

            assert await contents(client, session.id) == ["0", "1", "2", "3"]

    run(main())


def test_who_is_cancelled_while_it_waits_for_room_submits_nothing_and_holds_up_nobody(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                for each in range(WINDOW):
                    await submit(client, session.id, f"{each}")
                waiting = [
                    asyncio.create_task(submit(client, session.id, f"{WINDOW + each}"))
                    for each in range(4)
                ]
                await turns()
                assert not any(each.done() for each in waiting)
                for each in (0, 2):  # the one that waits for room, and one that waits for its turn
                    await cancelled(waiting[each])
            await (await waiting[1])
            await (await waiting[3])

            expected = [*range(WINDOW), WINDOW + 1, WINDOW + 3]
            assert await contents(client, session.id) == [f"{each}" for each in expected]

    run(main())


def test_a_future_that_is_cancelled_is_of_a_command_that_is_applied_all_the_same(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            assert (await submit(client, session.id, "0")).cancel()
            await (await submit(client, session.id, "1"))

            assert await contents(client, session.id) == ["0", "1"]

    run(main())


def test_flush_and_close_that_are_cancelled_leave_the_client_in_order(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        client = AsyncClient(daemon.home)
        session = await client.create_session("a", "/")
        with deaf(daemon):
            futures = [await submit(client, session.id, "") for _ in range(WINDOW)]
            flush = asyncio.create_task(client.flush())
            await turns()
            await cancelled(flush)
            assert not any(future.done() for future in futures)
            waiting = asyncio.create_task(submit(client, session.id, ""))
            close = asyncio.create_task(client.close())
            await turns()
            await cancelled(close)
            assert all(
                isinstance(future.exception(), OutcomeUnknown | DaemonUnavailable)
                for future in futures
            )
            error = (await asyncio.gather(waiting, return_exceptions=True))[0]
            assert getattr(error, "code", None) == "closed"
            await client.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not [each for each in threading.enumerate() if each.name.startswith("luludb")]

    run(main())


# Reads.


def test_a_read_that_is_cancelled_ends_at_once_and_the_next_one_reads(
    daemon: Daemon, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    look_at_file = Replica._read

    def slow(self: Replica, read: Any) -> Any:
        if not leave.is_set():
            entered.set()
            assert leave.wait(DEADLINE_S)
        return look_at_file(self, read)

    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            monkeypatch.setattr(Replica, "_read", slow)
            try:
                for call in (client.get_session(session.id), anext(client.list_messages("x"))):
                    entered.clear()
                    task = asyncio.ensure_future(call)
                    await asyncio.to_thread(entered.wait, DEADLINE_S)
                    await cancelled(task)
            finally:
                leave.set()
            assert await client.get_session(session.id) == session

    run(main())


# A watch.


@pytest.mark.parametrize("timeout_s", [0, 0.003])
def test_a_watch_whose_steps_are_cancelled_loses_and_repeats_no_change(
    daemon: Daemon, run: Callable[..., Any], timeout_s: float
) -> None:
    changes = 120

    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            watch = client.watch(session.id)

            async def write() -> list[str]:
                return [
                    (await client.append_message(session.id, "u", "")).id for _ in range(changes)
                ]

            writer = asyncio.create_task(write())
            seen = []
            while len(seen) < changes:
                with contextlib.suppress(TimeoutError):
                    if len(seen) % 2 and timeout_s:  # with 0, wait_for begins nothing
                        change = await asyncio.wait_for(anext(watch), timeout_s)
                    else:
                        async with asyncio.timeout(timeout_s):
                            change = await anext(watch)
                    seen.append(change.message_id)
                await asyncio.sleep(0)

            assert seen == await writer

    run(main())


@pytest.mark.usefixtures("notices_alone")
def test_a_watch_that_is_looked_at_without_waiting_hears_the_bell(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            watch = client.watch(session.id)
            for number in range(20):  # the first ones come by the look that follows a subscription
                message = await client.append_message(session.id, "u", f"{number}")
                change = None
                while change is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0):
                            change = await anext(watch)
                    await asyncio.sleep(0.001)
                assert change.message_id == message.id

    run(main())


# Anything.


def test_random_cancellations_double_nothing_and_lose_nothing_that_was_reported_done(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # shown where the test fails
    choose = random.Random(seed)
    done: dict[int, list[int]] = {}

    async def write(client: AsyncClient, session_id: str, worker: int, first: int) -> None:
        for number in range(first, first + 40):
            content = f"{worker} {number}"
            match choose.randrange(4):
                case 0:
                    await (await submit(client, session_id, content))
                case 1:
                    async with client.transaction() as transaction:
                        transaction.append_message(session_id, "u", content)
                case _:
                    await client.append_message(session_id, "u", content)
            done.setdefault(worker, []).append(number)

    def restart() -> None:
        daemon.kill()
        daemon.start()

    async def main() -> list[str]:
        async with AsyncClient(daemon.home, timeout_s=30) as client:
            session = await client.create_session("a", "/")
            workers = [
                asyncio.create_task(write(client, session.id, worker, 0)) for worker in range(60)
            ]
            for generation in range(1, CANCELLATIONS + 1):
                if generation == CANCELLATIONS // 2:
                    restarting = asyncio.create_task(asyncio.to_thread(restart))
                for _ in range(choose.randrange(4)):
                    await asyncio.sleep(choose.choice((0, 0, 0.0005)))
                worker = choose.randrange(60)
                workers[worker].cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await workers[worker]
                workers[worker] = asyncio.create_task(
                    write(client, session.id, worker, 1_000 * generation)
                )
            await asyncio.gather(restarting, *workers)
            return await contents(client, session.id)

    found = run(main())

    assert len(set(found)) == len(found)
    written: dict[int, list[int]] = {}
    for content in found:
        worker, number = map(int, content.split())
        written.setdefault(worker, []).append(number)
    for worker, numbers in written.items():
        assert numbers == sorted(numbers)  # in the order in which its tasks sent them
        assert set(done[worker]) <= set(numbers)
    # A cancelled task leaves one command at the most of which it does not know.
    assert len(found) - sum(map(len, done.values())) <= CANCELLATIONS
