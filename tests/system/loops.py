"""What the tests of `AsyncClient` share: loops, outages, and how long a loop stood still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import uvloop

from luludb_client.testing import Daemon

DEADLINE_S = 60
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def run_on(kind: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What `coroutine` gives on a new loop of a kind; hanging fails the test."""

    async def in_time() -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return await coroutine

    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        return runner.run(in_time())


@contextlib.contextmanager
def deaf(daemon: Daemon) -> Iterator[None]:
    """Stop the daemon's process where it is, as a hang would."""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


async def turns(count: int = 3) -> None:
    """Let the loop make some turns, in which everything goes out that can."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def held_up() -> AsyncIterator[list[float]]:
    """Notes the most processor time that passed between two ticks of a task, in seconds.

    Processor time of the loop's own thread, because other processes take part of the clock's.
    """
    most_s = [0.0]

    async def tick() -> None:
        before_s = time.thread_time()
        while True:
            await asyncio.sleep(0.002)
            now_s = time.thread_time()
            most_s[0] = max(most_s[0], now_s - before_s)
            before_s = now_s

    ticker = asyncio.create_task(tick())
    await turns()
    try:
        yield most_s
    finally:
        ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticker
