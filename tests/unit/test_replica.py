"""Reads from a file that this process's own sqlite3 has made; no daemon anywhere."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from luludb.errors import Busy, DaemonUnavailable, InvalidRequest, LuludbError, NotFound
from luludb.home import Home
from luludb.model import Message, Session
from luludb.tables import messages, schema, sessions
from luludb_client import replica as replica_module
from luludb_client.replica import Replica


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def writer(home: Home) -> Iterator[sqlite3.Connection]:
    """A connection to a new `lulu.db` with luludb's tables."""
    with contextlib.closing(make_database(home)) as connection:
        schema.migrate(connection)
        yield connection


@pytest.fixture
def replica(home: Home) -> Iterator[Replica]:
    with contextlib.closing(Replica(home, 1.0)) as replica:
        yield replica


def make_database(home: Home) -> sqlite3.Connection:
    connection = sqlite3.connect(home.database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def add_session(writer: sqlite3.Connection, id: str, **columns: str) -> Session:
    row = {"name": "n", "status": "created", "working_dir": "/w", "created_at": "2026-01-01"}
    row |= {"updated_at": "2026-01-01", **columns}
    session = Session(id=id, **row)
    sessions.insert(writer, session)
    return session


def add_messages(writer: sqlite3.Connection, count: int, session_id: str = "s") -> list[str]:
    # Ids and timestamps fall, so that neither can be taken for the order of the append.
    ids = [f"{session_id}{9999 - number}" for number in range(count)]
    for id in ids:
        messages.insert(writer, id, session_id, "user", id, id)
    return ids


def listed(replica: Replica, session_id: str = "s", **options: object) -> list[str]:
    arguments = {"after": None, "limit": None, "last": None, **options}
    return [each.id for each in replica.list_messages(session_id, **arguments)]


def page(replica: Replica, **options: object) -> list[str]:
    arguments = {"status": None, "working_dir": None, "limit": 100, "after": None, **options}
    return [each.id for each in replica.list_sessions(**arguments)]


# Rows.


def test_rows_are_read_as_they_are(replica: Replica, writer: sqlite3.Connection) -> None:
    session = add_session(writer, "s", name="ü\n", created_at="yesterday")
    messages.insert(writer, "m", "s", "r", "a\0b", "then")

    assert replica.get_session("s") == session
    assert replica.get_session("t") is None
    assert replica.get_message("m") == Message("m", "s", "r", "a\0b", "then")
    assert replica.get_message("n") is None


def test_a_read_sees_what_was_committed_before_it(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    for number in range(20):
        add_session(writer, f"{number}")

        assert replica.get_session(f"{number}") is not None


def test_a_file_made_elsewhere_is_read_as_well(replica: Replica, home: Home) -> None:
    with contextlib.closing(make_database(home)) as connection:
        for statement in schema._SHARED_TABLES:
            connection.execute(statement)
        add_session(connection, "s")
        ids = add_messages(connection, 3)

        assert page(replica, status="created") == ["s"]
        assert listed(replica, last=2) == ids[1:]


def test_paths_with_characters_that_mean_something_in_a_uri_work(tmp_path: Path) -> None:
    home = Home(tmp_path / "a b%20?c#ü")
    home.path.mkdir()
    with contextlib.closing(make_database(home)) as connection:
        schema.migrate(connection)
        add_session(connection, "s")

        with contextlib.closing(Replica(home, 1.0)) as replica:
            assert replica.get_session("s") is not None


# Sessions.


def test_sessions_come_by_time_and_id_descending(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    for id, created_at in (("a", "2"), ("b", "1"), ("c", "2"), ("d", "3")):
        add_session(writer, id, created_at=created_at)

    assert page(replica) == ["d", "c", "a", "b"]
    assert page(replica, limit=2) == ["d", "c"]
    assert page(replica, after="c") == ["a", "b"]
    assert page(replica, after="b") == []


def test_sessions_are_filtered(replica: Replica, writer: sqlite3.Connection) -> None:
    add_session(writer, "a", status="done", working_dir="/x")
    add_session(writer, "b", status="done", working_dir="/y")
    add_session(writer, "c", status="open", working_dir="/x")

    assert page(replica, status="done") == ["b", "a"]
    assert page(replica, working_dir="/x") == ["c", "a"]
    assert page(replica, status="done", working_dir="/x") == ["a"]
    assert page(replica, status="done", after="b") == ["a"]


def test_sessions_after_one_that_is_gone_are_not_found(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    with pytest.raises(NotFound, match="session x "):
        page(replica, after="x")


@pytest.mark.parametrize("status", [None, "created"])
@pytest.mark.parametrize("working_dir", [None, "/w"])
@pytest.mark.parametrize("is_after", [False, True])
def test_sessions_are_found_by_an_index_and_not_sorted(
    writer: sqlite3.Connection, status: str | None, working_dir: str | None, is_after: bool
) -> None:
    after = add_session(writer, "s") if is_after else None
    statements: list[str] = []
    writer.set_trace_callback(statements.append)
    sessions.page(writer, status=status, working_dir=working_dir, after=after, limit=5)
    writer.set_trace_callback(None)

    (plan,) = writer.execute(f"EXPLAIN QUERY PLAN {statements[0]}").fetchall()

    assert "USING INDEX lulu_sessions_" in plan[3]


# Messages.


@pytest.mark.parametrize("rows_max", [1, 2, 3, 7, 256])
def test_messages_come_in_the_order_of_their_append_whatever_the_page(
    replica: Replica,
    writer: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    rows_max: int,
) -> None:
    monkeypatch.setattr(replica_module, "READ_PAGE_ROWS_MAX", rows_max)
    add_session(writer, "s")
    add_session(writer, "t")
    add_messages(writer, 2, "t")
    ids = add_messages(writer, 7)

    assert listed(replica) == ids
    assert listed(replica, limit=3) == ids[:3]
    assert listed(replica, limit=100) == ids
    assert listed(replica, after=ids[2]) == ids[3:]
    assert listed(replica, after=ids[2], limit=2) == ids[3:5]
    assert listed(replica, after=ids[6]) == []
    assert listed(replica, last=1) == ids[-1:]
    assert listed(replica, last=5) == ids[2:]
    assert listed(replica, last=7) == ids
    assert listed(replica, last=8) == ids
    assert listed(replica, last=5, limit=2) == ids[2:4]


def test_messages_of_an_unknown_session_are_none(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    assert listed(replica, "nobody") == []
    assert listed(replica, "nobody", last=3) == []


def test_a_cursor_that_is_gone_or_of_another_session_is_not_found_at_the_call(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    add_session(writer, "s")
    (id,) = add_messages(writer, 1)

    for session_id, after in (("s", "gone"), ("t", id)):
        with pytest.raises(NotFound):
            replica.list_messages(session_id, after=after, limit=None, last=None)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"limit": 0}, id="limit-zero"),
        pytest.param({"limit": -1}, id="limit-negative"),
        pytest.param({"limit": True}, id="limit-bool"),
        pytest.param({"limit": 1.0}, id="limit-float"),
        pytest.param({"limit": 1 << 63}, id="limit-too-large"),
        pytest.param({"last": 0}, id="last-zero"),
        pytest.param({"last": 1, "after": "x"}, id="last-with-after"),
        pytest.param({"after": 1}, id="after-int"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    replica: Replica, writer: sqlite3.Connection, options: dict[str, object]
) -> None:
    arguments = {"after": None, "limit": None, "last": None, **options}

    with pytest.raises(InvalidRequest):
        replica.list_messages("s", **arguments)


@pytest.mark.parametrize("limit", [0, -1, False, "5", None])
def test_bad_limits_of_sessions_are_refused(
    replica: Replica, writer: sqlite3.Connection, limit: object
) -> None:
    with pytest.raises(InvalidRequest):
        page(replica, limit=limit)


def test_a_page_ends_with_the_row_that_fills_it(
    replica: Replica, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "READ_PAGE_BYTES_MAX", 10)
    add_session(writer, "s")
    ids = add_messages(writer, 9)

    rows = messages.page(writer, "s", after_rowid=None, rows_max=100, bytes_max=10)

    assert len(rows) == 2
    assert listed(replica) == ids


def test_nothing_is_held_between_two_messages(
    replica: Replica, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "READ_PAGE_BYTES_MAX", 10)
    add_session(writer, "s")
    ids = add_messages(writer, 9)
    listing = replica.list_messages("s", after=None, limit=None, last=None)
    next(listing)

    # A reader that held a snapshot would keep this from emptying the log.
    messages.insert(writer, "late", "s", "r", "", "t")
    is_busy, in_log, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert (is_busy, in_log) == (0, 0)
    assert [each.id for each in listing] == [*ids[1:], "late"]


def test_a_listing_goes_on_where_its_last_message_was_deleted(
    replica: Replica, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "READ_PAGE_ROWS_MAX", 1)
    add_session(writer, "s")
    ids = add_messages(writer, 3)
    listing = replica.list_messages("s", after=None, limit=None, last=None)
    first = next(listing).id

    messages.delete(writer, first)

    assert [each.id for each in listing] == ids[1:]


@pytest.mark.parametrize("after_rowid", [None, 1])
def test_messages_are_found_by_the_index_and_not_sorted(
    writer: sqlite3.Connection, after_rowid: int | None
) -> None:
    statements: list[str] = []
    writer.set_trace_callback(statements.append)
    messages.page(writer, "s", after_rowid=after_rowid, rows_max=5, bytes_max=5)
    messages.place_before_last(writer, "s", 5)
    writer.set_trace_callback(None)

    for statement in statements:
        (plan,) = writer.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()

        assert "INDEX idx_messages_session_id (session_id=?" in plan[3]


# Files that come and go.


def test_without_a_file_the_error_says_how_to_start_the_daemon(
    replica: Replica, home: Home
) -> None:
    with pytest.raises(DaemonUnavailable, match=f"luludb start --home {home.path}"):
        replica.get_session("s")


def test_a_file_without_tables_says_so(replica: Replica, home: Home) -> None:
    make_database(home).close()

    with pytest.raises(DaemonUnavailable, match="has not been set up"):
        replica.get_session("s")


def test_tables_that_come_a_moment_later_are_waited_for(replica: Replica, home: Home) -> None:
    with contextlib.closing(make_database(home)) as connection:
        reads: list[int] = []

        def read(reader: sqlite3.Connection) -> Session | None:
            reads.append(1)
            if len(reads) == 2:
                schema.migrate(connection)
                add_session(connection, "s")
            return sessions.get(reader, "s")

        assert replica._read(read) is not None


def test_a_file_in_the_place_of_another_is_opened_anew(
    replica: Replica, home: Home, writer: sqlite3.Connection
) -> None:
    add_session(writer, "old")
    assert replica.get_session("old") is not None

    home.database.rename(home.path / "aside")
    for left in (home.wal, home.shared_memory):
        left.unlink()
    with contextlib.closing(make_database(home)) as connection:
        schema.migrate(connection)
        add_session(connection, "new")

        assert replica.get_session("new") is not None
        assert replica.get_session("old") is None


def test_another_start_of_the_daemon_opens_the_file_anew(
    replica: Replica, home: Home, writer: sqlite3.Connection
) -> None:
    def connection_of_a_read() -> sqlite3.Connection:
        return replica._read(lambda connection: connection)

    home.run.mkdir()
    home.discovery.write_text("one")
    first = connection_of_a_read()
    same = connection_of_a_read()

    aside = home.run / "aside"
    aside.write_text("two")
    aside.rename(home.discovery)

    assert first is same
    assert connection_of_a_read() is not first


def test_a_lock_that_stays_is_busy_in_time(home: Home, writer: sqlite3.Connection) -> None:
    writer.execute("PRAGMA locking_mode=EXCLUSIVE")
    add_session(writer, "s")

    with contextlib.closing(Replica(home, 0.2)) as replica, pytest.raises(Busy, match="locked"):
        replica.get_session("s")


def test_what_is_no_database_is_an_error_of_ours(replica: Replica, home: Home) -> None:
    home.database.write_bytes(b"no database " * 1000)

    with pytest.raises(LuludbError, match="not a database"):
        replica.get_session("s")


def test_a_text_that_is_not_utf_8_is_read_with_a_mark_in_its_place(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    add_session(writer, "s")
    add_messages(writer, 1)
    writer.execute("UPDATE messages SET content = CAST(x'61ff62' AS TEXT)")
    writer.execute("INSERT INTO messages VALUES ('last', 's', 'user', 'é', 't')")

    contents = [
        message.content for message in replica.list_messages("s", after=None, limit=5, last=None)
    ]

    assert contents == ["a\ufffdb", "é"]


def test_messages_without_a_session_are_counted(
    replica: Replica, writer: sqlite3.Connection
) -> None:
    add_session(writer, "s")
    add_messages(writer, 3)
    assert replica.count_orphans() == 0

    writer.execute("PRAGMA foreign_keys = OFF")
    add_messages(writer, 2, "gone")

    assert replica.count_orphans() == 2


# Threads.


def test_threads_read_at_the_same_time(replica: Replica, writer: sqlite3.Connection) -> None:
    add_session(writer, "s")
    ids = add_messages(writer, 50)
    seen: list[list[str]] = []

    def read() -> None:
        seen.extend(listed(replica) for _ in range(20))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [ids] * 120
    assert len(replica._idle) <= 8


def test_a_connection_in_use_is_closed_when_it_comes_back_to_a_closed_replica(
    home: Home, writer: sqlite3.Connection
) -> None:
    replica = Replica(home, 1.0)

    def read(connection: sqlite3.Connection) -> sqlite3.Connection:
        replica.close()
        return connection

    connection = replica._read(read)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_home_that_is_no_directory_is_told_from_one_without_a_database(tmp_path):
    (tmp_path / "home").write_text("")
    replica = Replica(Home(tmp_path / "home"), 1.0)

    with pytest.raises(LuludbError, match="is no directory") as caught:
        replica.get_session("s")

    assert type(caught.value) is LuludbError
