"""Rows to import that are there already."""

import sqlite3
from contextlib import closing

import pytest

from luludb.admin.kept import kept_of, same_lines
from luludb.admin.rows import message_row, session_row
from luludb.home import Home
from luludb.limits import READ_PAGE_ROWS_MAX
from luludb.model import Message, Session
from luludb.tables import messages, schema, sessions
from luludb_client.replica import Replica

TIME = "2026-01-02T03:04:05.000006+00:00"
MANY = 2 * READ_PAGE_ROWS_MAX + 1


@pytest.fixture
def replica(tmp_path):
    """Reads a database with a session `s` and messages `m0`, `m1`, …"""
    home = Home(tmp_path)
    with closing(sqlite3.connect(home.database, isolation_level=None)) as writer:
        schema.migrate(writer)
        writer.execute("BEGIN")
        sessions.insert(writer, Session("s", "n", "created", "/w", TIME, TIME))
        for number in range(MANY):
            messages.insert(writer, f"m{number}", "s", "user", "c", TIME)
        writer.execute("COMMIT")
    with closing(Replica(home, 1.0)) as replica:
        yield replica


def session(line, **changes):
    columns = {"id": "s", "name": "n", "status": "created", "working_dir": "/w"}
    times = {"created_at": TIME, "updated_at": TIME}
    return session_row(line, {**columns, **times, **changes})


def message(line, id, **changes):
    columns = {"session_id": "s", "role": "user", "content": "c", "timestamp": TIME}
    return message_row(line, {"id": id, **columns, **changes})


def test_rows_that_are_there_and_the_same_are_found_however_many_they_are(replica):
    rows = [session(1), *(message(2 + number, f"m{number}") for number in range(MANY))]

    assert same_lines(replica, rows) == set(range(1, MANY + 2))


def test_a_row_that_is_not_there_or_has_other_columns_is_not_the_same(replica):
    rows = [
        session(1, status="done"),
        session(2, id="m1"),
        message(3, "s"),
        message(4, "m1", content="other"),
        message(5, "m2"),
    ]

    assert same_lines(replica, rows) == {5}


def test_the_same_moment_in_another_form_is_the_same(replica):
    rows = [
        session(1, created_at="2026-01-02T05:04:05.000006+02:00"),
        message(2, "m1", timestamp="2026-01-02T03:04:05.000006Z"),
        message(3, "m2", timestamp="2026-01-02T03:04:06Z"),
        message(4, "m3", timestamp="yesterday"),
    ]

    assert same_lines(replica, rows) == {1, 2}


def test_half_of_a_surrogate_pair_in_an_id_hides_no_other_row(replica):
    rows = [message(1, "\ud800"), message(2, "m1")]

    assert same_lines(replica, rows) == {2}
    assert kept_of(replica, rows[0]) is None


def test_what_has_the_id_of_a_row_is_found_in_its_own_table(replica):
    assert kept_of(replica, message(1, "m1", content="other")) == Message(
        "m1", "s", "user", "c", TIME
    )
    assert kept_of(replica, message(1, "s")) is None
