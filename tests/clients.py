"""Both clients behind the methods of `Client`, so that one suite of tests runs against both."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Self

import uvloop

from luludb_client import AsyncClient, Client
from luludb_client.batch import AsyncBatch

DEADLINE_S = 60


class Loop:
    """An event loop in a thread of its own; what is run after its end has one for a moment."""

    def __init__(self, new_event_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        """What the coroutine returns or raises."""
        if self._loop.is_closed():
            return asyncio.run(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call(self, function: Callable[[], Any]) -> Any:
        """What a function returns or raises that must be called in the loop."""

        async def called() -> Any:
            return function()

        return self.run(called())

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(DEADLINE_S)
            self._loop.close()


class LoopClient:
    """An `AsyncClient` whose coroutines run on a loop in a thread, while the caller waits."""

    def __init__(self, *args: Any, new_event_loop: Any, **options: Any) -> None:
        self._client = AsyncClient(*args, **options)
        self._new_event_loop = new_event_loop
        self._lock = threading.Lock()
        self._made: Loop | None = None

    @property
    def _loop(self) -> Loop:
        with self._lock:
            if self._made is None:
                self._made = Loop(self._new_event_loop)
            return self._made

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        loop = self._loop
        found = loop.call(lambda: method(*args, **options))
        if isinstance(found, AsyncBatch):
            return _LoopBatch(loop, found)
        if isinstance(found, AsyncIterator):
            return _LoopIterator(loop, found)
        if not inspect.isawaitable(found):
            return found
        result = loop.run(found)
        return LoopFuture(loop, result) if isinstance(result, asyncio.Future) else result

    def close(self) -> None:
        loop = self._loop
        try:
            loop.run(self._client.close())
        finally:
            loop.close()

    def __enter__(self) -> Self:
        self._call(self._client.__aenter__)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return self._client.__reduce__()


class LoopFuture:
    """A future of a loop's, for another thread."""

    def __init__(self, loop: Loop, future: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._future = future

    def result(self, timeout: float | None = None) -> Any:
        self._wait(timeout)
        return self._future.result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return self._future.exception()

    def done(self) -> bool:
        return self._future.done()

    def _wait(self, timeout: float | None) -> None:
        async def waited() -> None:
            await asyncio.wait([self._future], timeout=timeout)

        if not self._future.done():  # the loop may be closed by then
            self._loop.run(waited())
        if not self._future.done():
            raise TimeoutError


class _LoopIterator(Iterator[Any]):
    def __init__(self, loop: Loop, found: AsyncIterator[Any]) -> None:
        self._loop = loop
        self._found = found

    def __next__(self) -> Any:
        try:
            return self._loop.run(anext(self._found))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._loop.run(self._found.aclose())


class _LoopBatch(contextlib.AbstractContextManager[Any]):
    def __init__(self, loop: Loop, batch: AsyncBatch) -> None:
        self._loop = loop
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __enter__(self) -> Self:
        self._loop.run(self._batch.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.run(self._batch.__aexit__(*error))


KINDS: dict[str, Callable[..., Any]] = {
    "blocking": Client,
    "asyncio": partial(LoopClient, new_event_loop=asyncio.new_event_loop),
    "uvloop": partial(LoopClient, new_event_loop=uvloop.new_event_loop),
}
"""What makes a client of each kind, with the arguments of `Client`."""
