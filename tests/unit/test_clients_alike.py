"""`AsyncClient` has the methods of `Client`: names, arguments and results."""

from __future__ import annotations

import asyncio
import collections.abc
import concurrent.futures
import inspect
import typing
from typing import Any

import pytest

from luludb_client import AsyncClient, Client
from luludb_client.async_watcher import AsyncWatch
from luludb_client.batch import AsyncBatch, Batch, Transaction
from luludb_client.watcher import Watch

ASYNC_OF = {
    collections.abc.Iterator: collections.abc.AsyncIterator,
    concurrent.futures.Future: asyncio.Future,
    Batch: AsyncBatch,
    Watch: AsyncWatch,
    Client: AsyncClient,
}
"""What stands in `AsyncClient` where `Client` has the one on the left."""
ITERATING = {"list_messages", "watch", "transaction"}
"""Methods that are called without `await`."""


def public_methods(kind: type) -> dict[str, Any]:
    """The public methods and properties of a class, and the making of it."""
    return {
        name: found
        for name, found in inspect.getmembers(kind)
        if name == "__init__" or not name.startswith("_")
    }


def result_of(function: Any) -> Any:
    return typing.get_type_hints(function)["return"]


def as_async(result: Any) -> Any:
    """The result that `AsyncClient` has where `Client` has `result`."""
    origin = typing.get_origin(result)
    if origin in ASYNC_OF:
        return ASYNC_OF[origin][typing.get_args(result)]  # type: ignore[index]
    return ASYNC_OF.get(result, result)


def test_both_have_the_same_public_methods() -> None:
    assert set(public_methods(Client)) == set(public_methods(AsyncClient))


@pytest.mark.parametrize("name", sorted(public_methods(Client)))
def test_a_method_has_the_same_arguments_and_result(name: str) -> None:
    blocking, other = (public_methods(kind)[name] for kind in (Client, AsyncClient))
    if isinstance(blocking, property):
        assert isinstance(other, property)
        assert result_of(blocking.fget) == result_of(other.fget)
        return

    assert [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(blocking).parameters.values()
    ] == [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(other).parameters.values()
    ]
    assert as_async(result_of(blocking)) == result_of(other)
    if name != "__init__":
        assert inspect.iscoroutinefunction(other) == (name not in ITERATING)


@pytest.mark.parametrize(
    ("blocking", "other", "pairs"),
    [
        pytest.param(
            Client,
            AsyncClient,
            [("__enter__", "__aenter__"), ("__exit__", "__aexit__"), ("__reduce__", "__reduce__")],
            id="client",
        ),
        pytest.param(
            Batch,
            AsyncBatch,
            [("__enter__", "__aenter__"), ("__exit__", "__aexit__")],
            id="transaction",
        ),
        pytest.param(
            Watch, AsyncWatch, [("__next__", "__anext__"), ("close", "close")], id="watch"
        ),
    ],
)
def test_they_are_entered_left_and_stepped_alike(
    blocking: type, other: type, pairs: list[tuple[str, str]]
) -> None:
    for name, other_name in pairs:
        one, two = (
            inspect.signature(getattr(kind, each))
            for kind, each in ((blocking, name), (other, other_name))
        )
        assert one == two
        assert other_name == name or inspect.iscoroutinefunction(getattr(other, other_name))


def test_the_methods_of_a_transaction_are_the_writing_methods_of_both() -> None:
    for name, method in public_methods(Transaction).items():
        if name == "__init__":
            continue
        for kind in (Client, AsyncClient):
            there = inspect.signature(getattr(kind, name)).parameters
            here = inspect.signature(method).parameters
            # Durability belongs to the transaction.
            assert {key: value for key, value in there.items() if key != "durability"} == dict(here)
