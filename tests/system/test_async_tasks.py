"""`AsyncClient` shared by many tasks: order, frames, outages, and a loop that is not held up."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luludb_client import AsyncClient, DaemonUnavailable, OutcomeUnknown, core
from luludb_client.testing import Daemon, running_daemon
from tests.system.loops import deaf, held_up, run_on, turns

HELD_UP_S_MAX = 0.25  # of processor time, where the most that was seen is a fifth of it
LATE_S = 2.0
Rows = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return partial(run_on, request.param)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands each frame had that was written."""
    written: list[int] = []
    began = core.Core.began

    def noted(self: core.Core, frame: core.Frame, now_s: float) -> None:
        written.append(len(frame.commands))
        began(self, frame, now_s)

    monkeypatch.setattr(core.Core, "began", noted)
    return written


async def append_all(client: AsyncClient, session_id: str, task: int, count: int) -> None:
    for number in range(count):
        await client.append_message(session_id, "user", f"{task} {number}")


def by_task(rows: Rows, home: Path, session_id: str) -> dict[int, list[int]]:
    """The numbers that each task wrote, in the order of the file."""
    found: dict[int, list[int]] = defaultdict(list)
    for (content,) in rows(
        home, "SELECT content FROM messages WHERE session_id = ? ORDER BY rowid", session_id
    ):
        task, number = map(int, content.split())
        found[task].append(number)
    return found


def everything(tasks: int, count: int) -> dict[int, list[int]]:
    return {task: list(range(count)) for task in range(tasks)}


async def in_tasks(client: AsyncClient, session_id: str, tasks: int, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(append_all(client, session_id, task, count))


# Order.


def test_a_thousand_tasks_share_a_client(
    daemon: Daemon, run: Callable[..., Any], rows: Rows
) -> None:
    async def main() -> tuple[str, float]:
        async with AsyncClient(daemon.home) as client, held_up() as most_s:
            session = await client.create_session("a", "/")
            await in_tasks(client, session.id, 1_000, 3)
            return session.id, most_s[0]

    session_id, most_s = run(main())

    assert by_task(rows, daemon.home, session_id) == everything(1_000, 3)
    print(f"the loop was held up for {most_s * 1000:.1f} ms of processor time")
    assert most_s < HELD_UP_S_MAX


def test_commands_of_one_turn_go_out_in_one_frame(daemon: Daemon, frames: list[int]) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            del frames[:]
            await asyncio.gather(*(append_all(client, session.id, each, 1) for each in range(200)))
            futures = [
                await client.submit(
                    "message.append", session_id=session.id, role="user", content="submitted"
                )
                for _ in range(100)
            ]
            await asyncio.gather(*futures)

    run_on("asyncio", main())

    assert frames == [200, 100]


def test_what_one_task_submits_and_another_awaits_is_applied_in_the_order_of_the_calls(
    daemon: Daemon, run: Callable[..., Any], rows: Rows
) -> None:
    async def submit(client: AsyncClient, session_id: str, task: int) -> None:
        for number in range(0, 600, 2):
            content = f"{task} {number}"
            await client.submit(
                "message.append", session_id=session_id, role="user", content=content
            )
            if number % 50 == 0:
                await client.append_message(session_id, "user", f"{task} {number + 1}")
            else:
                content = f"{task} {number + 1}"
                await client.submit(
                    "message.append", session_id=session_id, role="user", content=content
                )

    async def main() -> str:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            await asyncio.gather(*(submit(client, session.id, task) for task in range(5)))
            await client.flush()
            return session.id

    assert by_task(rows, daemon.home, run(main())) == everything(5, 600)


# Outages.


def test_kills_under_two_hundred_tasks_are_no_error_and_lose_and_double_nothing(
    daemon: Daemon, run: Callable[..., Any], rows: Rows
) -> None:
    async def restart(tasks: Sequence[asyncio.Task[None]]) -> int:
        restarts = 0
        while not all(task.done() for task in tasks) and restarts < 4:
            await asyncio.sleep(0.05)
            await asyncio.to_thread(daemon.kill)
            await asyncio.to_thread(daemon.start)
            restarts += 1
        return restarts

    async def main() -> tuple[str, int]:
        async with AsyncClient(daemon.home, timeout_s=30) as client:
            session = await client.create_session("a", "/")
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(append_all(client, session.id, task, 12))
                    for task in range(200)
                ]
                restarter = group.create_task(restart(tasks))
            return session.id, restarter.result()

    session_id, restarts = run(main())

    assert restarts > 0
    assert by_task(rows, daemon.home, session_id) == everything(200, 12)


def test_a_deaf_daemon_holds_up_neither_the_loop_nor_reads_and_errors_come_in_time(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def timed(call: Any) -> tuple[BaseException | None, float]:
        started_s = time.monotonic()
        try:
            await call
        except (OutcomeUnknown, DaemonUnavailable) as error:
            return error, time.monotonic() - started_s
        return None, time.monotonic() - started_s

    async def main() -> None:
        async with AsyncClient(daemon.home, timeout_s=0.5) as client, held_up() as most_s:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                writes = [
                    asyncio.create_task(timed(client.append_message(session.id, "user", "x" * 500)))
                    for _ in range(1_000)
                ]
                ping = asyncio.create_task(timed(client.ping()))
                for _ in range(20):
                    assert await client.get_session(session.id) == session
                ended = await asyncio.gather(*writes)
                pinged, ping_s = await ping
            assert isinstance(pinged, DaemonUnavailable)
            assert 0.5 <= ping_s < 0.5 + LATE_S
            kinds = {type(error) for error, _ in ended}
            assert kinds == {OutcomeUnknown, DaemonUnavailable}  # 256 were sent
            assert all(0.5 <= after_s < 0.5 + LATE_S for _, after_s in ended)
            assert (await client.append_message(session.id, "user", "then")).content == "then"
            print(f"the loop was held up for {most_s[0] * 1000:.1f} ms of processor time")
            assert most_s[0] < HELD_UP_S_MAX

    run(main())


def test_a_daemon_that_stops_reading_is_written_to_again_when_it_reads(
    daemon: Daemon, run: Callable[..., Any], rows: Rows
) -> None:
    content = "y" * 1_000_000  # more than the socket takes

    async def main() -> tuple[str, float, float]:
        async with AsyncClient(daemon.home) as client:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                calls = [
                    asyncio.create_task(client.append_message(session.id, "user", content))
                    for _ in range(20)
                ]
                await turns()
                before_s = time.thread_time()
                await asyncio.sleep(0.3)
                spent_s = time.thread_time() - before_s
            assert len({message.id for message in await asyncio.gather(*calls)}) == 20
            before_s = time.thread_time()
            await asyncio.sleep(0.3)
            return session.id, spent_s, time.thread_time() - before_s

    session_id, full_s, idle_s = run(main())

    # Neither a full socket nor an empty one keeps the loop busy.
    assert (full_s, idle_s) < (0.1, 0.1)
    assert idle_s < 0.1
    found = rows(daemon.home, "SELECT count(*) FROM messages WHERE session_id = ?", session_id)
    assert found == [(20,)]


def test_an_answer_that_came_while_the_loop_was_held_up_is_no_late_answer(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home, timeout_s=0.4) as client:
            session = await client.create_session("a", "/")
            with deaf(daemon):
                first = asyncio.create_task(client.append_message(session.id, "user", "first"))
                await turns()  # it is sent
                second = asyncio.create_task(client.append_message(session.id, "user", "second"))
                await turns(1)  # it is in line, and a turn of the link's is due
            time.sleep(0.6)  # what a program does that holds its loop up

            assert (await first).content == "first"
            await asyncio.wait([second])
            if (error := second.exception()) is not None:  # it was not sent in time
                assert isinstance(error, DaemonUnavailable)

    run(main())


def test_an_exception_in_a_callback_of_a_future_is_the_loops_and_the_client_goes_on(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> list[object]:
        handled: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: handled.append(context["exception"])
        )

        def call_back(_: object) -> None:
            raise ZeroDivisionError

        async with AsyncClient(daemon.home) as client:
            for name in ("a", "b"):
                future = await client.submit("session.create", name=name, working_dir="/")
                future.add_done_callback(call_back)
            await client.flush()
            assert (await client.create_session("c", "/")).name == "c"
        return handled

    assert [type(error) for error in run(main())] == [ZeroDivisionError] * 2
