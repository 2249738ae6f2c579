"""`watch` of both clients: every change once, in order, whatever happens to the daemons."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luludb.limits import WATCH_LOOK_S
from luludb_client import (
    ChangesPruned,
    Client,
    DataLoss,
    InvalidRequest,
    LuludbError,
)
from luludb_client.testing import Daemon, running_daemon
from tests.clients import KINDS
from tests.system.watching import (
    DEADLINE_S,
    Watching,
    append,
    create,
    deadline,
    last_rev,
    open_files,
    revs,
)

WRITER = """
import sys
from luludb_client import Client
home, session_id, count = sys.argv[1:]
with Client(home, timeout_s=60) as client:
    client.create_session("n", "/", id=session_id)
    for number in range(int(count)):
        client.append_message(session_id, "user", str(number))
"""
WATCHER = """
import sys
from luludb_client import Client
home, session_id, last_rev = sys.argv[1:]
with Client(home) as client:
    for change in client.watch(session_id or None, after_rev=0):
        print(change.rev, flush=True)
        if change.rev == int(last_rev):
            break
"""
BACKUP = """
import contextlib, sqlite3, sys
with (
    contextlib.closing(sqlite3.connect(sys.argv[1])) as source,
    contextlib.closing(sqlite3.connect(sys.argv[2])) as target,
):
    source.backup(target)
    if len(sys.argv) > 3:
        with target:
            target.execute("UPDATE lulu_meta SET value = ? WHERE key = 'database_id'", sys.argv[3:])
"""


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    with deadline():
        yield


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon, make_client: Callable[..., Client]) -> Iterator[Client]:
    with make_client(daemon.home) as client:
        yield client


# What it gives.


def test_it_gives_each_change_with_what_it_was(client: Client) -> None:
    watch = client.watch()
    session = client.create_session("n", "/")
    message = client.append_message(session.id, "user", "hi")
    client.delete_session(session.id)

    given = [next(watch) for _ in range(3)]

    assert [(each.rev, each.op, each.session_id, each.message_id) for each in given] == [
        (1, "session.create", session.id, None),
        (2, "message.append", session.id, message.id),
        (3, "session.delete", session.id, None),
    ]


def test_it_begins_at_the_call_and_not_at_the_first_next(client: Client) -> None:
    create(client, "before")
    watch = client.watch()
    create(client, "after")

    assert next(watch).session_id == "after"


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_it_begins_behind_a_rev_or_with_the_oldest_change(client: Client) -> None:
    create(client, "s")
    append(client, "s", 4)

    assert revs(client.watch(after_rev=0), 5) == [1, 2, 3, 4, 5]
    assert revs(client.watch(after_rev=3), 2) == [4, 5]


@pytest.mark.usefixtures("notices_alone")
def test_it_waits_for_what_comes(client: Client) -> None:
    watching = Watching(client.watch())
    create(client, "s")

    for number in range(20):
        append(client, "s")
        if number % 5 == 0:
            watching.revs_through(number + 2)
    watching.revs_through(21)

    client.close()
    assert watching.ended() is None


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_session_is_told_from_one_whose_id_begins_alike(client: Client) -> None:
    watching = Watching(client.watch("s"))
    create(client, "st")
    create(client, "s")
    for _ in range(10):
        append(client, "st")
        append(client, "s")

    given = [watching.next() for _ in range(11)]

    assert [each.rev for each in given if each] == [2, *range(4, 24, 2)]
    client.close()
    assert watching.ended() is None


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_an_unknown_session_has_no_changes_until_it_has_some(client: Client) -> None:
    watching = Watching(client.watch("später"))
    create(client, "other")
    assert watching.changes.empty()

    create(client, "später")

    change = watching.next()
    assert change is not None
    assert (change.rev, change.session_id) == (2, "später")
    client.close()
    assert watching.ended() is None


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"after_rev": -1}, id="rev-below-0"),
        pytest.param({"after_rev": "1"}, id="rev-of-another-type"),
        pytest.param({"session_id": 1}, id="session-of-another-type"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    tmp_path: Path, make_client: Callable[..., Client], arguments: dict[str, object]
) -> None:
    with make_client(tmp_path) as client, pytest.raises(InvalidRequest):
        client.watch(**arguments)  # type: ignore[arg-type]


# When it looks.


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_while_nothing_happens_it_looks_once_a_second(client: Client, looks: list[float]) -> None:
    create(client, "s")
    watching = Watching(client.watch(after_rev=0))
    watching.revs_through(1)
    deadline_s = time.monotonic() + DEADLINE_S
    while len(looks) < 6 and time.monotonic() < deadline_s:
        watching.thread.join(0.1)

    client.close()
    assert watching.ended() is None
    # The first look, the one after the connection, and then one a second.
    assert 6 <= len(looks) <= 3 + looks[-1] - looks[0]


def test_without_a_daemon_it_looks_once_a_second_at_most(
    daemon: Daemon, looks: list[float]
) -> None:
    with Client(daemon.home) as client:
        create(client, "s")
        watching = Watching(client.watch(after_rev=0))
        watching.revs_through(1)
        daemon.kill()
        before = len(looks)
        deadline_s = time.monotonic() + DEADLINE_S
        while len(looks) < before + 3 and time.monotonic() < deadline_s:
            watching.thread.join(0.1)

        client.close()
        assert watching.ended() is None
    made = looks[before:]
    assert 3 <= len(made) <= 2 + made[-1] - made[0]


def test_while_nothing_happens_it_wakes_up_for_nothing_but_a_look(
    daemon: Daemon, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with Client(daemon.home) as client, contextlib.ExitStack() as stack:
        create(client, "s")
        watcher = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", WATCHER, str(daemon.home), "", "2"],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(watcher.kill)
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "1\n"
        tracer = stack.enter_context(
            subprocess.Popen(["strace", "-f", "-qq", "-ttt", "-o", trace, "-p", str(watcher.pid)])
        )
        stack.callback(tracer.kill)
        deadline_s = time.monotonic() + DEADLINE_S
        while len(waits := waits_in(trace)) < 3:
            assert time.monotonic() < deadline_s, "it does not wait"
            time.sleep(0.1)

    # The one that it was in is not among them; the look after the connection may be.
    assert len(waits) <= 2 + waits[-1] - waits[0]


def waits_in(trace: Path) -> list[float]:
    """When a traced process came to wait."""
    if not trace.exists():
        return []
    lines = trace.read_text().splitlines()
    return [float(line.split()[1]) for line in lines if " poll(" in line or " ppoll(" in line]


@contextlib.contextmanager
def silent_doorbell(home: Path, path: Path) -> Iterator[None]:
    """Lead whoever connects from now on to a socket that never says anything."""
    discovery = home / "run" / "daemon.json"
    told = json.loads(discovery.read_text())
    aside = path.with_suffix(".json")
    aside.write_text(json.dumps({**told, "changes": f"ipc://{path}"}))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        aside.replace(discovery)
        yield


@pytest.mark.parametrize("session_id", [None, "s"])
def test_where_nothing_rings_a_change_is_found_by_the_next_look_a_second_later(
    daemon: Daemon, tmp_path: Path, looks: list[float], session_id: str | None
) -> None:
    waited_s = []
    with silent_doorbell(daemon.home, tmp_path / "silent.sock"), Client(daemon.home) as client:
        create(client, "s")
        watching = Watching(client.watch(session_id, after_rev=0))
        watching.revs_through(1)
        for rev in (2, 3):
            append(client, "s")
            committed_s = time.monotonic()
            assert watching.revs_through(rev) == [rev]
            waited_s.append(time.monotonic() - committed_s)
            assert sum(look_s > committed_s for look_s in looks) <= 1

        client.close()
        assert watching.ended() is None
    assert min(waited_s) < 1.5 * WATCH_LOOK_S


@pytest.mark.usefixtures("notices_alone")
@pytest.mark.parametrize("session_id", [None, "s"])
def test_a_notice_makes_it_look(client: Client, session_id: str | None) -> None:
    watching = Watching(client.watch(session_id))
    create(client, "s")

    for rev in range(1, 20):
        assert watching.revs_through(rev) == [rev]
        append(client, "s")

    client.close()
    assert watching.ended() is None


@pytest.mark.usefixtures("notices_alone")
@pytest.mark.parametrize("make_client", KINDS, indirect=True)
def test_it_finds_a_daemon_that_was_started_anew_and_looks_then(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    with make_client(daemon.home) as client:
        create(client, "s")
        watching = Watching(client.watch(after_rev=0))
        watching.revs_through(1)
        for end in (daemon.kill, daemon.stop):
            append(client, "s")
            end()
            daemon.start()
            append(client, "s")
        assert watching.revs_through(5) == [2, 3, 4, 5]
        append(client, "s")
        assert watching.revs_through(6) == [6]
        client.close()
        assert watching.ended() is None


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_notices_that_wait_make_one_look(client: Client, looks: list[float]) -> None:
    watch = client.watch()
    create(client, "s")
    assert next(watch).rev == 1
    append(client, "s")
    assert next(watch).rev == 2  # it is connected, and its subscription has been taken in
    client.list_sessions()
    for _ in range(3):
        before, started_s = len(looks), time.monotonic()
        first = last_rev(Path(client.home)) + 1
        append(client, "s", 300)

        assert revs(watch, 300) == list(range(first, first + 300))

        assert len(looks) - before <= 3 + time.monotonic() - started_s
    watch.close()


# What happens to the daemon.


def test_it_needs_no_daemon(daemon: Daemon, make_client: Callable[..., Client]) -> None:
    with make_client(daemon.home) as client:
        create(client, "s")
        append(client, "s", 3)
        for end in (daemon.kill, daemon.stop):
            end()
            with contextlib.closing(client.watch("s", after_rev=0)) as watch:
                assert revs(watch, 4) == [1, 2, 3, 4]
            daemon.start()


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_it_waits_for_a_database_that_is_not_there_yet(
    tmp_path: Path, make_client: Callable[..., Client]
) -> None:
    home = tmp_path / "home"
    with make_client(home) as client, running_daemon() as elsewhere:
        watchings = [
            Watching(client.watch()),
            Watching(client.watch(after_rev=0)),
            Watching(client.watch("s", after_rev=0)),
        ]
        with running_daemon(home) as daemon:
            assert daemon.pid != elsewhere.pid
            create(client, "s")
            append(client, "s", 2)

            for watching in watchings:
                assert watching.revs_through(3) == [1, 2, 3]
            client.close()
            for watching in watchings:
                assert watching.ended() is None


def test_every_watcher_sees_each_change_once_and_in_order_while_the_daemon_is_killed(
    daemon: Daemon,
    make_client: Callable[..., Client],
) -> None:
    each, sessions = 150, ["a", "ab", "b"]
    total = len(sessions) * (each + 1)
    with make_client(daemon.home) as client, contextlib.ExitStack() as stack:
        watchings = {id: Watching(client.watch(id)) for id in sessions}
        everything = [Watching(client.watch()), Watching(client.watch(after_rev=0))]
        other = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", WATCHER, str(daemon.home), "", str(total)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(other.kill)
        writers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, str(daemon.home), session_id, str(each)]
                )
            )
            for session_id in sessions
        ]
        for share in (1, 2, 3, 4):
            wanted = total * share // 5
            everything[0].revs_through(wanted - (share > 1))
            daemon.kill()
            daemon.start()
        for writer in writers:
            assert writer.wait(60) == 0

        assert last_rev(daemon.home) == total
        assert everything[1].revs_through(total) == list(range(1, total + 1))
        by_session = {
            id: [watching.next() for _ in range(each + 1)] for id, watching in watchings.items()
        }
        for id, changes in by_session.items():
            assert {change.session_id for change in changes if change} == {id}
        given = [change.rev for changes in by_session.values() for change in changes if change]
        assert sorted(given) == list(range(1, total + 1))
        for changes in by_session.values():
            own = [change.rev for change in changes if change]
            assert own == sorted(own)
        assert other.communicate(timeout=DEADLINE_S)[0].split() == [
            str(rev) for rev in range(1, total + 1)
        ]
        client.close()
        for watching in (*everything, *watchings.values()):
            assert watching.ended() is None
            assert watching.changes.empty()


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_watcher_that_was_stopped_goes_on_where_it_was(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    total = 700
    with make_client(daemon.home) as client, contextlib.ExitStack() as stack:
        create(client, "s")
        watcher = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", WATCHER, str(daemon.home), "s", str(total)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(watcher.kill)
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "1\n"
        os.kill(watcher.pid, signal.SIGSTOP)
        # More than the daemon's queue of notices for one subscriber holds.
        append(client, "s", total - 1)
        daemon.kill()
        daemon.start()
        os.kill(watcher.pid, signal.SIGCONT)

        assert watcher.communicate(timeout=DEADLINE_S)[0].split() == [
            str(rev) for rev in range(2, total + 1)
        ]


# What is gone.


def test_changes_that_are_no_longer_kept_are_told(
    tmp_path: Path, make_client: Callable[..., Client]
) -> None:
    with (
        running_daemon(tmp_path, env={"LULUDB_CHANGES_KEPT_MAX": "10"}),
        make_client(tmp_path) as client,
    ):
        slow = client.watch()
        create(client, "s")
        assert next(slow).rev == 1
        append(client, "s", 49)

        for watch in (client.watch(after_rev=1), client.watch("s", after_rev=20), slow):
            with pytest.raises(ChangesPruned):
                next(watch)
            with pytest.raises(StopIteration):
                next(watch)
        assert next(client.watch(after_rev=0)).rev > 40
        assert revs(client.watch(after_rev=48), 2) == [49, 50]


@pytest.mark.parametrize("session_id", [None, "s"])
def test_one_that_fell_behind_watches_anew_then_reads_what_is_there_and_misses_nothing(
    tmp_path: Path, session_id: str | None
) -> None:
    with (
        running_daemon(tmp_path / "home", env={"LULUDB_CHANGES_KEPT_MAX": "20"}) as daemon,
        Client(daemon.home) as client,
    ):
        create(client, "s")
        watch = client.watch(session_id, after_rev=0)
        assert next(watch).rev == 1
        append(client, "s", 49)
        first = client.append_message("s", "user", "first")
        with pytest.raises(ChangesPruned, match="Begin a new watch, then read"):
            next(watch)

        watch = client.watch(session_id)
        append(client, "s")
        known = contents(client)
        client.update_message(first.id, "second")
        append(client, "s")
        for change in watch:
            assert change.message_id is not None
            message = client.get_message(change.message_id)
            assert message is not None
            known[message.id] = message.content
            if change.rev == last_rev(daemon.home):
                break

        assert change.rev == 54
        assert known == contents(client)


def contents(client: Client) -> dict[str, str]:
    return {message.id: message.content for message in client.list_messages("s")}


@contextlib.contextmanager
def copy_of(home: Path, to: Path) -> Iterator[Callable[..., None]]:
    """Copy the database now; the function that is given puts the copy back."""
    database = str(home / "lulu.db")
    subprocess.run([sys.executable, "-c", BACKUP, database, str(to)], check=True)
    yield (
        lambda *database_id: (
            subprocess.run(
                [sys.executable, "-c", BACKUP, str(to), database, *database_id], check=True
            )
            and None
        )
    )


@pytest.mark.parametrize(
    "database_id",
    [pytest.param((), id="of-the-same-id"), pytest.param(("another",), id="of-another-id")],
)
def test_a_database_that_was_set_back_is_data_loss(
    daemon: Daemon, make_client: Callable[..., Client], tmp_path: Path, database_id: tuple[str, ...]
) -> None:
    with make_client(daemon.home) as client:
        create(client, "s")
        watchings = [
            Watching(client.watch(after_rev=0)),
            Watching(client.watch("s", after_rev=1)),
            Watching(client.watch("nothing")),
        ]
        with copy_of(daemon.home, tmp_path / "copy.db") as put_back:
            append(client, "s", 3)
            watchings[0].revs_through(4)
            watchings[1].revs_through(4)
            if not database_id:  # who saw nothing of what was lost, lost nothing
                watchings.pop()
            daemon.stop()
            put_back(*database_id)
            daemon.start()

        for watching in watchings:
            assert isinstance(watching.ended(), DataLoss)


@pytest.mark.parametrize("make_client", ["blocking"], indirect=True)
def test_a_database_that_was_set_back_and_grew_again_is_data_loss(
    daemon: Daemon, make_client: Callable[..., Client], tmp_path: Path
) -> None:
    with make_client(daemon.home) as client:
        create(client, "s")
        watches = [client.watch(after_rev=0), client.watch("s", after_rev=0)]
        with copy_of(daemon.home, tmp_path / "copy.db") as put_back:
            append(client, "s", 3)
            for watch in watches:
                assert revs(watch, 4) == [1, 2, 3, 4]
            daemon.stop()
            put_back()
            daemon.start()
        with make_client(daemon.home) as other:
            append(other, "s", 10)

        for watch in watches:
            with pytest.raises(DataLoss):
                next(watch)


# Its end.


@pytest.mark.usefixtures("notices_alone")
def test_closing_the_client_ends_each_watch_and_leaves_no_descriptor(
    daemon: Daemon, make_client: Callable[..., Client]
) -> None:
    before = open_files()
    client = make_client(daemon.home)
    create(client, "s")
    watchings = [Watching(client.watch(id, after_rev=0)) for id in (None, "s", "nothing")]
    suspended = client.watch(after_rev=0)
    unused = client.watch()
    assert next(suspended).rev == 1
    for watching in watchings[:2]:
        watching.revs_through(1)

    client.close()

    for watching in watchings:
        assert watching.ended() is None
    assert open_files() == before
    for watch in (suspended, unused):
        with pytest.raises(StopIteration):
            next(watch)
    with pytest.raises(LuludbError, match="closed"):
        client.watch()
    assert open_files() == before


@pytest.mark.usefixtures("notices_alone")
def test_a_watch_may_be_closed_by_itself_from_any_thread(client: Client) -> None:
    create(client, "s")
    before = open_files()
    watches = [client.watch(after_rev=0) for _ in range(2)]
    watching = Watching(watches[0])
    watching.revs_through(1)
    assert next(watches[1]).rev == 1

    for watch in watches:
        watch.close()
        watch.close()

    assert watching.ended() is None
    with pytest.raises(StopIteration):
        next(watches[1])
    append(client, "s")
    assert revs(client.watch(after_rev=0), 2) == [1, 2]
    assert open_files() == before


def test_a_watch_that_is_dropped_leaves_no_descriptor(client: Client) -> None:
    create(client, "s")
    before = open_files()

    for change in client.watch(after_rev=0):
        assert change.rev == 1
        break

    assert open_files() == before
