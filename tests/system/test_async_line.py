"""`AsyncClient` over a connection that is cut, dripped or choked: a proxy stands in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luludb_client import AsyncClient
from luludb_client.async_link import AsyncLink
from luludb_client.testing import Daemon, running_daemon
from tests.clients import Loop
from tests.system.loops import run_on

TASKS = 30
EACH = 15
TURNS_MAX = 60  # in nearly half a second; a link that spins makes thousands


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return partial(run_on, request.param)


@pytest.fixture
def turns_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the turns of all links."""
    made = [0]
    turn = AsyncLink._turn

    def counted(self: AsyncLink) -> None:
        made[0] += 1
        turn(self)

    monkeypatch.setattr(AsyncLink, "_turn", counted)
    return made


class Proxy:
    """Stands between clients and a daemon.

    Attributes:
        piece_bytes: how much it passes on at once.
        cut: says, for each piece, whether the connection ends with it, half of it passed on.
        is_deaf: whether it reads and passes on nothing.
        connections: how many there were.
    """

    def __init__(self, upstream: str) -> None:
        self.piece_bytes = 1 << 16
        self.cut: Callable[[], bool] = lambda: False
        self.is_deaf = False
        self.connections = 0
        self._upstream = upstream

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_unix_connection(self._upstream)
        except OSError:  # the daemon was killed
            writer.close()
            return
        ways = [
            asyncio.create_task(self._pass(reader, back)),
            asyncio.create_task(self._pass(there, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, back):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    async def ended(self, server: asyncio.Server) -> None:
        """Take no more connections, and wait for the end of those there are."""
        server.close()
        self.is_deaf = False
        # Not those alone that `serve` has noted: one that was just accepted has not begun yet.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(self.piece_bytes):
                while self.is_deaf:
                    await asyncio.sleep(0.01)
                is_last = self.cut()
                writer.write(piece[: len(piece) // 2] if is_last else piece)
                await writer.drain()
                if is_last:
                    return


@contextlib.contextmanager
def proxy_of(daemon: Daemon, directory: Path) -> Iterator[Proxy]:
    """A proxy that the discovery file names, in the daemon's place, on a loop in a thread."""
    discovery = daemon.home / "run" / "daemon.json"
    before = discovery.read_text()
    found = json.loads(before)
    proxy = Proxy(found["command"].removeprefix("ipc://"))
    path = directory / f"{daemon.pid}.sock"
    loop = Loop(asyncio.new_event_loop)
    try:
        server = loop.run(asyncio.start_unix_server(proxy.serve, path))
        discovery.write_text(json.dumps({**found, "command": f"ipc://{path}"}))
        yield proxy
        loop.run(proxy.ended(server))
    finally:
        discovery.write_text(before)
        loop.close()


async def append_all(client: AsyncClient, session_id: str, task: int) -> None:
    for number in range(EACH):
        await client.append_message(session_id, "u", f"{task} {number} " + "x" * (number % 3 * 500))


async def check_written(client: AsyncClient, session_id: str) -> None:
    found: dict[int, list[int]] = {task: [] for task in range(TASKS)}
    async for message in client.list_messages(session_id):
        task, number, *_ = message.content.split()
        found[int(task)].append(int(number))
    assert found == {task: list(range(EACH)) for task in range(TASKS)}


def test_connections_that_are_cut_anywhere_lose_double_and_reorder_nothing(
    daemon: Daemon, short_directory: Path, run: Callable[..., Any]
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # shown where the test fails
    choose = random.Random(seed)

    async def main(proxy: Proxy) -> None:
        async with AsyncClient(daemon.home, timeout_s=40) as client:
            session = await client.create_session("a", "/")
            proxy.piece_bytes = 3_000
            proxy.cut = lambda: proxy.connections < 4 or choose.random() < 0.03
            async with asyncio.TaskGroup() as group:
                for task in range(TASKS):
                    group.create_task(append_all(client, session.id, task))
            assert proxy.connections >= 4
            await check_written(client, session.id)

    with proxy_of(daemon, short_directory) as proxy:
        run(main(proxy))


def test_frames_that_come_in_drops_are_taken_whole(
    daemon: Daemon, short_directory: Path, run: Callable[..., Any]
) -> None:
    async def main(proxy: Proxy) -> None:
        async with AsyncClient(daemon.home) as client:
            proxy.piece_bytes = 3
            session = await client.create_session("a", "/")
            await client.append_message(session.id, "u", "drops")
            assert (await client.status())["pid"] == daemon.pid
            assert [each.content async for each in client.list_messages(session.id)] == ["drops"]
            assert proxy.connections == 2  # one is status's

    with proxy_of(daemon, short_directory) as proxy:
        run(main(proxy))


@pytest.mark.parametrize("state", ["idle", "deaf", "each connection cut", "no daemon"])
def test_a_link_with_nothing_to_do_makes_few_turns(
    daemon: Daemon, short_directory: Path, turns_made: list[int], state: str
) -> None:
    async def main(proxy: Proxy) -> None:
        async with AsyncClient(daemon.home, timeout_s=0.6) as client:
            session = await client.create_session("a", "/")
            if state == "no daemon":
                daemon.kill()
            elif state == "deaf":
                proxy.is_deaf = True
            elif state == "each connection cut":
                proxy.cut = lambda: True
            large = "x" * 100_000  # more than the socket takes
            calls = [
                asyncio.create_task(client.append_message(session.id, "u", large))
                for _ in range(0 if state == "idle" else 10)
            ]
            await asyncio.sleep(0.1)
            before = turns_made[0]
            await asyncio.sleep(0.4)
            made = turns_made[0] - before
            await asyncio.gather(*calls, return_exceptions=True)
            proxy.is_deaf = False
            assert made <= TURNS_MAX

    with proxy_of(daemon, short_directory) as proxy:
        # Here and not on the standard loop: its timers are the coarser ones.
        run_on("uvloop", main(proxy))
    if state == "no daemon":
        daemon.start()
