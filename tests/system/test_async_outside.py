"""An `AsyncClient` and what is not in its power: no descriptor, no daemon, another file."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from luludb_client import AsyncClient, DaemonUnavailable, DataLoss, channel, replica
from luludb_client.testing import Daemon, running_daemon
from tests.system.command_line import luludb
from tests.system.loops import DEADLINE_S, deaf, run_on, turns


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def run() -> Callable[..., Any]:
    return partial(run_on, "asyncio")


def test_without_a_descriptor_for_a_socket_a_call_ends_in_time(
    daemon: Daemon, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    fake = SimpleNamespace(socket=no_socket, AF_UNIX=socket.AF_UNIX, SOCK_STREAM=socket.SOCK_STREAM)

    async def main() -> None:
        async with AsyncClient(daemon.home, timeout_s=0.3) as client:
            with monkeypatch.context() as patch:
                patch.setattr(channel, "socket", fake)
                with pytest.raises(DaemonUnavailable, match="Too many open files"):
                    await client.create_session("a", "/")
            assert (await client.create_session("a", "/")).name == "a"

    run(main())


def test_tasks_that_share_a_start_wait_no_longer_than_their_timeout(
    daemon: Daemon, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.home, start=True, timeout_s=0.4) as client:
            started_s = time.monotonic()
            with deaf(daemon):
                calls = [asyncio.create_task(client.create_session("a", "/")) for _ in range(60)]
                await turns()
                calls[0].cancel()
                errors = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - started_s < 3
            assert isinstance(errors[0], asyncio.CancelledError)
            assert all(isinstance(error, DaemonUnavailable) for error in errors[1:])
            assert len({id(error) for error in errors[1:]}) == 59
            assert (await client.create_session("a", "/")).name == "a"

    run(main())


def test_of_many_tasks_that_need_a_start_one_starts_a_daemon(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    home = tmp_path / "home"

    async def main() -> None:
        async with AsyncClient(home, start=True, timeout_s=DEADLINE_S / 2) as client:
            first = asyncio.create_task(client.create_session("cancelled", "/"))
            made = [
                asyncio.create_task(client.create_session(f"{each}", "/")) for each in range(50)
            ]
            while not home.exists():  # the start is under way then
                await asyncio.sleep(0.001)
            first.cancel()
            await asyncio.gather(*made)
            assert len(await client.list_sessions()) == 50

    try:
        run(main())
        log = (home / "log" / "daemon.log").read_text()
        assert log.count('"event": "serving"') == 1
    finally:
        assert luludb(home, "stop", "--timeout", "30").returncode == 0


def test_a_listing_goes_on_in_a_file_that_was_replaced_in_the_middle(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "READ_PAGE_ROWS_MAX", 10)

    async def main() -> None:
        with running_daemon(tmp_path / "home") as daemon:
            async with AsyncClient(daemon.home) as client:
                session = await client.create_session("a", "/", id="s")
                for each in range(30):
                    await client.append_message(session.id, "u", f"old {each}")
                listing = client.list_messages(session.id)
                gone = client.list_messages(session.id)
                seen = [(await anext(listing)).content for _ in range(10)]
                assert (await anext(gone)).content == "old 0"
                await asyncio.to_thread(daemon.stop)
                for file in daemon.home.glob("lulu.db*"):
                    file.unlink()
                assert [(await anext(gone)).content for _ in range(9)] == seen[1:]
                with pytest.raises(DaemonUnavailable, match="no database"):
                    await anext(gone)
                await asyncio.to_thread(daemon.start)
                async with AsyncClient(daemon.home) as other:
                    await other.create_session("a", "/", id="s")
                    for each in range(20):
                        await other.append_message("s", "u", f"new {each}")
                seen += [each.content async for each in listing]
                # Its place is a row's number, so it goes on with the rows behind that.
                assert seen[10:] == [f"new {each}" for each in range(10, 20)]
                with pytest.raises(DataLoss):
                    await client.append_message("s", "u", "x")

    run(main())
