"""A future without a condition of its own is a `concurrent.futures.Future` to everyone."""

from __future__ import annotations

import asyncio
import copy as copying
import pickle
import sys
import threading
from concurrent import futures
from concurrent.futures import Future
from typing import Any

import pytest

from luludb.errors import NotFound
from luludb_client.futures import CommandFuture, resolve
from luludb_client.line import Command

BODY = {"rev": 1}


def command(outcome: Any = BODY) -> Command:
    made = Command((b"", None, False, 1), 0.0, 1.0)
    made.future = CommandFuture()
    made.outcome = outcome
    return made


def is_waited_for(future: CommandFuture) -> bool:
    """Whether a thread sleeps in `result`; it can be seen where the condition's lock is free."""
    if future.made is None:
        return False
    with future.made:
        return bool(future.made._waiters)  # type: ignore[attr-defined]


def test_it_has_what_the_standard_librarys_future_has() -> None:
    mine = CommandFuture()
    usual: Future[Any] = Future()
    assert usual.set_running_or_notify_cancel()

    assert set(vars(usual)) == {name for name in vars(usual) if hasattr(mine, name)}
    mine._condition  # noqa: B018  # makes it, and what it guards
    for name in set(vars(usual)) - {"_condition"}:
        assert getattr(mine, name) == getattr(usual, name), name


def test_a_future_that_nobody_used_is_resolved_without_a_condition() -> None:
    one = command()

    resolve([one])

    assert one.future.made is None
    assert one.future.result() is BODY
    assert one.future.result(0) is BODY
    assert one.future.made is None
    assert (one.future.done(), one.future.exception()) == (True, None)


def test_it_runs_and_cannot_be_cancelled() -> None:
    future = CommandFuture()

    assert (future.running(), future.cancel(), future.done()) == (True, False, False)


def test_an_error_is_raised_and_an_unresolved_future_times_out() -> None:
    refused, waiting = command(NotFound("gone")), command()

    resolve([refused])

    with pytest.raises(NotFound):
        refused.future.result()
    assert isinstance(refused.future.exception(), NotFound)
    with pytest.raises(futures.TimeoutError):
        waiting.future.result(0.01)
    resolve([waiting])
    assert waiting.future.result() is BODY


def test_one_who_waits_in_result_is_woken() -> None:
    one = command()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(one.future.result(10)))
    thread.start()
    while not is_waited_for(one.future):
        assert thread.is_alive()

    resolve([one])
    thread.join(10)

    assert results == [BODY]


def test_callbacks_are_called_once_whether_added_before_or_after() -> None:
    one = command()
    called: list[object] = []
    one.future.add_done_callback(called.append)
    assert called == []

    resolve([one])
    one.future.add_done_callback(called.append)

    assert called == [one.future] * 2


def test_a_callback_that_wants_to_exit_keeps_no_other_future_from_its_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    commands = [command() for _ in range(3)]
    commands[0].future.add_done_callback(lambda _: sys.exit(1))
    for each in commands[1:]:
        assert not each.future.running() or not each.future.cancel()  # so that each is used

    resolve(commands)

    assert [each.future.result(0) for each in commands] == [BODY] * 3
    assert "callback" in caplog.text


def test_it_is_not_copied_to_where_nobody_resolves_it() -> None:
    future = command().future

    for copy in (pickle.dumps, copying.copy, copying.deepcopy):
        with pytest.raises(TypeError):
            copy(future)


def test_wait_and_as_completed_take_some_that_are_done_and_some_that_are_not() -> None:
    commands = [command() for _ in range(6)]
    mine = [each.future for each in commands]
    resolve(commands[:2])

    first = futures.wait(mine, return_when=futures.FIRST_COMPLETED)
    listed = futures.as_completed(mine)
    early = {next(listed), next(listed)}
    resolve(commands[2:])

    assert first.done == early == set(mine[:2])
    assert set(listed) == set(mine[2:])
    assert futures.wait(mine).not_done == set()


def test_asyncio_can_wait_for_it() -> None:
    async def work() -> Any:
        one = command()
        wrapped = asyncio.wrap_future(one.future)
        threading.Thread(target=resolve, args=([one],)).start()
        return await asyncio.wait_for(wrapped, 10)

    assert asyncio.run(work()) is BODY


def test_nothing_is_resolved_while_a_condition_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its maker might wait for what was told before, or be told of what it saw itself."""
    one = command()
    resolver = threading.Thread(target=resolve, args=([one],))
    was_resolved_meanwhile = []

    def make() -> threading.Condition:
        resolver.start()
        resolver.join(0.2)
        was_resolved_meanwhile.append(one.future._state != "RUNNING")
        return threading.Condition()

    monkeypatch.setattr("luludb_client.futures.Condition", make)

    assert one.future.result(10) is BODY
    resolver.join(10)
    assert was_resolved_meanwhile == [False]


def test_no_wait_is_lost_and_no_future_told_twice_where_threads_meet() -> None:
    """Waiters and the resolver come to the same futures at the same time, over and over."""
    for _ in range(300):
        commands = [command() for _ in range(8)]
        mine = [each.future for each in commands]
        resolver = threading.Thread(target=resolve, args=(commands,))
        resolver.start()
        assert set(futures.as_completed(mine, timeout=10)) == set(mine)
        resolver.join()
