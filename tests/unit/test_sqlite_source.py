"""Rows of a SQLite file that another program made."""

import sqlite3
from contextlib import closing
from dataclasses import asdict

import pytest

from luludb.admin.rows import Refusal, Row
from luludb.admin.sqlite_source import count_rows, open_sqlite, read_rows
from luludb.errors import InvalidRequest
from luludb.model import Message, Session

TABLES = """
CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT 'created', working_dir TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL);
CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL,
  content TEXT NOT NULL, timestamp TEXT NOT NULL,
  FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE);
"""
TIME = "2026-01-02T03:04:05.000006+00:00"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a 100% odd? #name.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    return path


def insert(path, *rows):
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in rows:
            table, marks = (
                ("sessions", "?,?,?,?,?,?") if len(row) == 6 else ("messages", "?,?,?,?,?")
            )
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)


def session(id):
    return (id, f"name of {id}", "created", "/work", TIME, TIME)


def message(id, session_id, content="hello"):
    return (id, session_id, "user", content, TIME)


def row(line, columns):
    if len(columns) == 6:
        return Row(line, "session.create", asdict(Session(*columns)))
    return Row(line, "message.append", asdict(Message(*columns)))


def read(path):
    with closing(open_sqlite(path)) as connection:
        return list(read_rows(connection))


def test_sessions_come_in_rowid_order_each_followed_by_its_messages(path):
    insert(
        path,
        session("z"),
        session("a"),
        message("3", "a"),
        message("2", "z"),
        message("1", "z"),
        session("m"),
    )

    rows = read(path)

    assert rows == [
        row(1, session("z")),
        row(2, message("2", "z")),
        row(3, message("1", "z")),
        row(4, session("a")),
        row(5, message("3", "a")),
        row(6, session("m")),
    ]


def test_messages_without_their_session_come_last(path):
    insert(path, message("lost", "nowhere"), session("a"))

    assert read(path) == [
        row(1, session("a")),
        row(2, message("lost", "nowhere")),
    ]


def test_all_rows_are_counted(path):
    insert(path, session("a"), message("1", "a"), message("lost", "nowhere"))

    with closing(open_sqlite(path)) as connection:
        assert count_rows(connection) == 3


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x00\xff", id="a-blob"),
        pytest.param(b"plain", id="a-blob-of-text"),
    ],
)
def test_a_value_that_is_no_text_refuses_its_row_alone(path, content):
    insert(path, session("a"), message("1", "a", content), message("2", "a"))

    _, second, third = read(path)

    assert isinstance(second, Refusal)
    assert (second.line, second.code) == (2, "invalid")
    assert "content" in second.message
    assert third == row(3, message("2", "a"))


def test_a_text_that_is_not_utf_8_refuses_its_row_alone(path):
    insert(path, session("a"), message("1", "a"), message("2", "a"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE messages SET content = CAST(x'ff' AS TEXT) WHERE id = '1'")

    _, second, third = read(path)

    assert isinstance(second, Refusal)
    assert third == row(3, message("2", "a"))


def test_a_file_without_the_tables_is_refused_whole(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sessions (id)")

    with pytest.raises(InvalidRequest, match="messages"):
        open_sqlite(path)


def test_a_damaged_file_is_refused_whole(tmp_path):
    path = tmp_path / "damaged.db"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)

    with pytest.raises(InvalidRequest, match=r"damaged\.db"):
        open_sqlite(path)


def test_the_source_is_not_changed(path):
    insert(path, session("a"))
    before = path.read_bytes()

    read(path)

    assert path.read_bytes() == before
