"""The methods of both Python clients against a daemon."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luludb_client import (
    AlreadyExists,
    Client,
    InvalidRequest,
    LuludbError,
    Message,
    NotFound,
    TooLarge,
)
from luludb_client.testing import Daemon, running_daemon
from tests.clients import KINDS


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture(params=KINDS)
def make_client(request: pytest.FixtureRequest) -> Callable[..., Client]:
    """Here the clients of all kinds."""
    return KINDS[request.param]


@pytest.fixture
def client(daemon: Daemon, make_client: Callable[..., Client]) -> Iterator[Client]:
    with make_client(daemon.home) as client:
        yield client


@pytest.fixture
def session_id(client: Client) -> str:
    return client.create_session("a session", "/work").id


def test_a_session_is_created_and_read_back(client: Client) -> None:
    created = client.create_session("ü", "/work", status="open")

    assert client.get_session(created.id) == created
    assert (created.name, created.working_dir, created.status) == ("ü", "/work", "open")
    assert created.created_at == created.updated_at
    assert created.created_at.endswith("+00:00")


def test_a_session_is_updated(client: Client, session_id: str) -> None:
    before = client.get_session(session_id)
    assert before is not None

    updated = client.update_session(session_id, name="other", working_dir="/x")
    status = client.update_session_status(session_id, "done")

    assert (updated.name, updated.working_dir, updated.status) == ("other", "/x", "created")
    assert status.status == "done"
    assert status.updated_at > before.updated_at
    assert client.get_session(session_id) == status


def test_a_session_is_deleted_with_its_messages(client: Client, session_id: str) -> None:
    message = client.append_message(session_id, "user", "hi")
    client.append_message(session_id, "user", "ho")

    assert client.delete_session(session_id) == 2
    assert client.get_session(session_id) is None
    assert client.get_message(message.id) is None


def test_messages_are_appended_updated_and_deleted(client: Client, session_id: str) -> None:
    first = client.append_message(session_id, "user", "a\0ü", timestamp="2026-01-02T03:04:05Z")
    second = client.append_message(session_id, "agent", "", id=f"own {session_id}")

    updated = client.update_message(first.id, "b")

    assert first == Message(
        first.id, session_id, "user", "a\0ü", "2026-01-02T03:04:05.000000+00:00"
    )
    assert second.id == f"own {session_id}"
    assert updated == Message(first.id, session_id, "user", "b", first.timestamp)
    assert list(client.list_messages(session_id)) == [updated, second]
    client.delete_message(first.id)
    assert client.get_message(first.id) is None
    assert list(client.list_messages(session_id)) == [second]


def test_listings_take_their_arguments(client: Client, session_id: str) -> None:
    ids = [client.append_message(session_id, "user", f"{number}").id for number in range(5)]

    assert [each.id for each in client.list_messages(session_id, last=2)] == ids[3:]
    assert [each.id for each in client.list_messages(session_id, after=ids[1], limit=2)] == ids[2:4]
    assert client.list_sessions(limit=1)[0].id == session_id
    assert client.list_sessions(status="nothing has this") == []
    with pytest.raises(NotFound):
        next(client.list_messages(session_id, after="gone"))


def test_ids_made_by_one_client_rise(client: Client, session_id: str) -> None:
    ids = [client.append_message(session_id, "user", "").id for _ in range(50)]

    assert ids == sorted(ids)


def test_one_who_sends_his_own_id_again_may_take_already_exists_for_done(
    daemon: Daemon, make_client: Callable[..., Client], client: Client, session_id: str
) -> None:
    client.append_message(session_id, "user", "once", id=f"{session_id}/1")

    # The orchestrator died before it noted the answer; its successor sends the same again.
    with make_client(daemon.home) as successor:
        with pytest.raises(AlreadyExists):
            successor.append_message(session_id, "user", "once", id=f"{session_id}/1")

        assert len(list(successor.list_messages(session_id))) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda c: c.update_session("x", name="n"), NotFound, id="update-session"),
        pytest.param(lambda c: c.delete_session("x"), NotFound, id="delete-session"),
        pytest.param(lambda c: c.append_message("x", "user", ""), NotFound, id="append"),
        pytest.param(lambda c: c.update_message("x", ""), NotFound, id="update-message"),
        pytest.param(lambda c: c.delete_message("x"), NotFound, id="delete-message"),
        pytest.param(lambda c: c.update_session("x"), InvalidRequest, id="update-nothing"),
        pytest.param(lambda c: c.create_session("", "/"), InvalidRequest, id="empty-name"),
        pytest.param(lambda c: c.create_session("n", 1), InvalidRequest, id="not-a-text"),
        pytest.param(lambda c: c.create_session("n", Path("/")), InvalidRequest, id="a-path"),
        pytest.param(
            lambda c: c.append_message("x", "user", "\ud800"), InvalidRequest, id="surrogate"
        ),
        pytest.param(
            lambda c: c.append_message("x", "user", "", timestamp="now"),
            InvalidRequest,
            id="no-time",
        ),
        pytest.param(
            lambda c: c.append_message("x", "user", "", durability="x"),
            InvalidRequest,
            id="durability",
        ),
        pytest.param(lambda c: c.append_message("x", "u", "y" * (1 << 24)), TooLarge, id="large"),
        pytest.param(lambda c: c.submit("pipeline", commands=[]), InvalidRequest, id="pipeline"),
        pytest.param(lambda c: c.submit("hello"), InvalidRequest, id="control"),
        pytest.param(lambda c: c.submit(3), InvalidRequest, id="op-of-another-type"),
        pytest.param(
            lambda c: c.submit("message.update", id={(1, 2): 3}), InvalidRequest, id="map-key"
        ),
        pytest.param(
            lambda c: c.submit("message.update", id=object()), InvalidRequest, id="no-value"
        ),
        pytest.param(lambda c: c.get_session(None), InvalidRequest, id="get-without-id"),
        pytest.param(lambda c: c.list_sessions(limit=0), InvalidRequest, id="limit"),
        pytest.param(
            lambda c: next(c.list_messages("x", last=1, after="y")),
            InvalidRequest,
            id="last-and-after",
        ),
        pytest.param(lambda c: c.transaction(durability="x"), InvalidRequest, id="transaction"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_client_goes_on(
    client: Client, call: Callable[[Client], object], error: type[LuludbError]
) -> None:
    with pytest.raises(error) as caught:
        call(client)

    assert type(caught.value) is error
    assert client.create_session("after it", "/").name == "after it"


@pytest.mark.parametrize("timeout_s", [0, -1, True, "3", float("nan"), float("inf"), None])
def test_a_timeout_is_a_number_of_seconds_above_0(
    make_client: Callable[..., Client], timeout_s: float
) -> None:
    with pytest.raises(InvalidRequest, match="timeout_s"):
        make_client(timeout_s=timeout_s)


def test_a_message_of_many_megabytes_comes_through(client: Client, session_id: str) -> None:
    content = os.urandom(7 * 1024 * 1024).hex()

    message = client.append_message(session_id, "tool", content)

    assert client.get_message(message.id) == message
    assert [each.content for each in client.list_messages(session_id)] == [content]


def test_durability_full_is_asked_for(client: Client, session_id: str) -> None:
    full = client.submit(
        "message.append", durability="full", session_id=session_id, role="user", content=""
    )
    client.append_message(session_id, "user", "", durability="full")
    client.append_message(session_id, "user", "", durability="normal")

    assert full.result()["durability"] == "full"


# Transactions.


def test_a_transaction_is_applied_whole(client: Client) -> None:
    with client.transaction(durability="full") as transaction:
        session_id = transaction.create_session("t", "/t")
        first = transaction.append_message(session_id, "user", "1")
        second = transaction.append_message(session_id, "user", "2")
        transaction.update_message(first, "one")
        transaction.delete_message(second)
        transaction.update_session_status(session_id, "done")
        other = transaction.create_session("u", "/")
        transaction.delete_session(other)

    session = client.get_session(session_id)
    assert session is not None
    assert session.status == "done"
    assert [(each.id, each.content) for each in client.list_messages(session_id)] == [
        (first, "one")
    ]
    assert transaction.results[0]["id"] == session_id
    assert transaction.results[-1]["deleted_messages"] == 0
    assert len(transaction.results) == 8


def test_a_refused_transaction_leaves_nothing_and_says_which_command(client: Client) -> None:
    transaction = client.transaction()

    with pytest.raises(NotFound) as caught, transaction:  # noqa: PT012  # raised by its end
        session_id = transaction.create_session("t", "/t")
        transaction.append_message("nobody", "user", "")

    assert caught.value.details["index"] == 1
    assert client.get_session(session_id) is None


def test_an_exception_inside_a_transaction_sends_nothing(client: Client) -> None:
    with pytest.raises(ZeroDivisionError), client.transaction() as transaction:  # noqa: PT012
        session_id = transaction.create_session("t", "/t")
        _ = 1 / 0

    assert client.get_session(session_id) is None


def test_an_empty_transaction_sends_nothing(client: Client) -> None:
    before = client.status()["commands_total"]

    with client.transaction() as transaction:
        pass

    assert transaction.results == []
    assert client.status()["commands_total"] == before


def test_a_transaction_is_used_once_and_inside_its_with(client: Client) -> None:
    with client.transaction() as transaction:
        pass

    with pytest.raises(LuludbError, match="used before"), transaction:
        pass
    with pytest.raises(LuludbError, match="not open"):
        transaction.delete_message("x")


def test_a_transaction_of_too_many_commands_is_too_large(client: Client) -> None:
    with pytest.raises(TooLarge), client.transaction() as transaction:  # noqa: PT012
        for _ in range(10_001):
            transaction.delete_message("x")


def test_the_largest_transaction_is_applied(client: Client, session_id: str) -> None:
    with client.transaction() as transaction:
        for _ in range(10_000):
            transaction.append_message(session_id, "user", "")

    assert sum(1 for _ in client.list_messages(session_id)) == 10_000


# Pipelining.


def test_submitted_commands_are_applied_in_order(client: Client, session_id: str) -> None:
    futures = [
        client.submit("message.append", session_id=session_id, role="user", content=f"{number}")
        for number in range(3_000)
    ]
    client.flush()

    assert all(future.done() for future in futures)
    revs = [future.result()["rev"] for future in futures]
    assert revs == sorted(revs)
    listed = list(client.list_messages(session_id))
    assert [each.content for each in listed] == [f"{number}" for number in range(3_000)]
    assert [each.id for each in listed] == [each.result()["message"]["id"] for each in futures]


def test_a_refusal_among_submitted_commands_is_its_own(client: Client, session_id: str) -> None:
    futures = [
        client.submit(
            "message.append",
            session_id=session_id if number % 3 else "nobody",
            role="user",
            content="",
        )
        for number in range(300)
    ]
    client.flush()

    errors = [future.exception() for future in futures]
    assert all(isinstance(error, NotFound) for error in errors[::3])
    assert not any(errors[1::3] + errors[2::3])


def test_transactions_are_submitted_too(client: Client, session_id: str) -> None:
    append = ["message.append", {"session_id": session_id, "role": "user", "content": "x"}]

    futures = [client.submit("transaction", commands=[append] * 40) for _ in range(300)]
    client.flush()

    assert all(len(future.result()["results"]) == 40 for future in futures)
    assert sum(1 for _ in client.list_messages(session_id)) == 12_000


def test_large_submitted_commands_are_held_back_and_not_lost(
    client: Client, session_id: str
) -> None:
    content = "z" * (5 * 1024 * 1024)

    futures = [
        client.submit("message.append", session_id=session_id, role="user", content=content)
        for _ in range(12)
    ]

    assert len({future.result()["message"]["id"] for future in futures}) == 12


# The daemon's answers, and the client's life.


def test_ping_and_status_are_answered(daemon: Daemon, client: Client) -> None:
    assert client.ping() == {}
    assert client.status()["pid"] == daemon.pid


def test_nothing_is_opened_before_it_is_needed(make_client: Callable[..., Client]) -> None:
    before = os.listdir("/dev/fd")

    client = make_client("/nonexistent")

    assert os.listdir("/dev/fd") == before
    client.close()


def test_a_closed_client_has_given_everything_back_and_does_nothing(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    before = sorted(os.listdir("/dev/fd"))
    client = make_client(daemon.home)
    session = client.create_session("a", "/")
    client.submit("message.append", session_id=session.id, role="user", content="").result()
    client.get_session(session.id)

    client.close()
    client.close()

    assert sorted(os.listdir("/dev/fd")) == before
    for call in (
        client.ping,
        client.status,
        client.flush,
        client.transaction,
        client.__enter__,
        lambda: client.create_session("a", "/"),
        lambda: client.get_session("a"),
        lambda: next(client.list_messages("a")),
        client.watch,
        lambda: client.submit("message.delete", id="x"),
    ):
        with pytest.raises(LuludbError, match="closed"):
            call()
    client.close()
    assert sorted(os.listdir("/dev/fd")) == before


def test_a_client_refuses_to_be_pickled(client: Client) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)


def test_importing_the_client_loads_no_library_that_only_the_daemon_or_the_cli_needs() -> None:
    program = (
        "import luludb_client, luludb_client.testing, sys;"
        " print(*{'zmq', 'apsw', 'click', 'rich'} & set(sys.modules))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == ""


def test_the_fixture_gives_a_daemon(luludb_daemon: Daemon) -> None:
    with Client(luludb_daemon.home) as client:
        assert client.status()["pid"] == luludb_daemon.pid
