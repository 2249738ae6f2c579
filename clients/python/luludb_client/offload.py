"""Threads that read the file for an event loop, which would stand still meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from luludb.limits import ASYNC_READ_THREADS_MAX

Result = TypeVar("Result")


class Offload:
    """Runs functions in threads of its own, of which `close` leaves none.

    Those of the loop's default executor would stay for as long as the loop does.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()

    async def run(self, function: Callable[[], Result]) -> Result:
        """What `function` returns or raises. A task that is cancelled waits no longer for it."""
        return await self.begin(function)

    def begin(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """The future of what `function` returns or raises."""
        if self._executor is None or self._pid != os.getpid():  # a fork copies no threads
            self._executor = ThreadPoolExecutor(ASYNC_READ_THREADS_MAX, "luludb-reader")
            self._pid = os.getpid()
        return asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self) -> None:
        """End the threads, each after what it does now."""
        executor, self._executor = self._executor, None
        if executor is None or self._pid != os.getpid():
            return
        loop = asyncio.get_running_loop()
        is_over = loop.create_future()

        def end() -> None:
            executor.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(is_over.set_result, None)

        thread = threading.Thread(target=end, name="luludb-closer")
        thread.start()
        await asyncio.shield(is_over)
        thread.join()
