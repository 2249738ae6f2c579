"""A `lulu.db` that another program made: taken over with every row, or refused as it is."""

import contextlib
import sqlite3

import pytest

from tests.databases import TODAYS_SCHEMA
from tests.foreign import foreign
from tests.serving import refused_start, serving


def adopted(home, journal="delete"):
    rows = [
        f"INSERT INTO sessions VALUES ('s{number}', 'name {number}', 'running', '/w',"
        f" '2025-01-0{number + 1}', 'yesterday');"
        for number in range(3)
    ] + [
        f"INSERT INTO messages VALUES ('m{number}', 's{number % 3}', 'user', 'text {number}',"
        f" 'whenever');"
        for number in range(30)
    ]
    foreign(home, f"PRAGMA journal_mode = {journal};" + TODAYS_SCHEMA + "".join(rows))


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_an_old_database_opens_as_it_is_and_keeps_all_its_rows(fresh_home, connect, rows, journal):
    adopted(fresh_home, journal)
    everything = [
        "SELECT rowid, * FROM sessions ORDER BY rowid",
        "SELECT rowid, * FROM messages ORDER BY rowid",
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '%lulu_%' ORDER BY name",
    ]
    before = [rows(fresh_home, sql) for sql in everything]

    with serving(fresh_home):
        peer = connect(fresh_home)
        after = [rows(fresh_home, sql) for sql in everything]
        # Rows from before have no change, and can be changed.
        assert rows(fresh_home, "SELECT count(*) FROM lulu_changes") == [(0,)]
        assert peer.done("message.update", {"id": "m0", "content": "new"})["message"] == {
            "id": "m0",
            "session_id": "s0",
            "role": "user",
            "timestamp": "whenever",
        }
        assert peer.append("s1")
        assert peer.done("session.delete", {"id": "s2"})["deleted_messages"] == 10

    assert after == before
    assert rows(fresh_home, "SELECT count(*) FROM messages") == [(21,)]
    assert rows(fresh_home, "PRAGMA user_version") != [(0,)]


def test_a_new_database_has_the_tables_of_old_ones(daemon, rows):
    shape = (
        'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk'
        " FROM sqlite_schema AS m, pragma_table_info(m.name) AS c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'lulu%' ORDER BY m.name, c.cid"
    )
    with contextlib.closing(sqlite3.connect(":memory:")) as old:
        old.executescript(TODAYS_SCHEMA)
        expected = old.execute(shape).fetchall()

    assert rows(daemon.home, shape) == expected
    assert rows(daemon.home, "PRAGMA foreign_key_list(messages)") == [
        (0, 0, "sessions", "session_id", "id", "NO ACTION", "CASCADE", "NONE")
    ]
    assert rows(daemon.home, "PRAGMA index_info(idx_messages_session_id)") == [(0, 1, "session_id")]
    others = "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
    shared = {"sessions", "messages", "idx_messages_session_id"}
    names = {name for (name,) in rows(daemon.home, others)} - shared
    assert all(name.startswith("lulu_") for name in names)


def test_a_new_database_is_in_wal_mode_and_can_shrink(daemon, rows):
    assert rows(daemon.home, "PRAGMA journal_mode") == [("wal",)]
    assert rows(daemon.home, "PRAGMA auto_vacuum") == [(2,)]


def test_foreign_keys_are_kept(daemon, peer, rows):
    session_id = peer.create_session()
    peer.append(session_id)
    peer.done("session.delete", {"id": session_id})

    assert rows(daemon.home, "PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_newer_schema_is_refused_and_left_as_it_is(fresh_home, journal):
    adopted(fresh_home, journal)
    foreign(fresh_home, "PRAGMA user_version = 999")
    before = (fresh_home / "lulu.db").read_bytes()

    code, log = refused_start(fresh_home)

    assert code == 1
    assert "999" in log
    assert "Traceback" not in log
    assert (fresh_home / "lulu.db").read_bytes() == before
    assert not (fresh_home / "run" / "daemon.json").exists()


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(fresh_home):
    fresh_home.mkdir()
    (fresh_home / "lulu.db").write_bytes(b"not a database " * 1000)

    code, log = refused_start(fresh_home)

    assert code == 1
    assert str(fresh_home / "lulu.db") in log
    assert "Traceback" not in log
    assert (fresh_home / "lulu.db").read_bytes() == b"not a database " * 1000


def test_tables_of_another_shape_are_refused_and_left_as_they_are(fresh_home):
    foreign(fresh_home, "CREATE TABLE sessions (id INTEGER PRIMARY KEY, title TEXT);")
    before = (fresh_home / "lulu.db").read_bytes()

    code, log = refused_start(fresh_home)

    assert code == 1
    assert "title" in log
    assert (fresh_home / "lulu.db").read_bytes() == before


def test_an_empty_file_becomes_a_database(fresh_home, connect):
    fresh_home.mkdir()
    (fresh_home / "lulu.db").touch()

    with serving(fresh_home):
        assert connect(fresh_home).create_session()
