"""The verifier that demo and stress rely on: each thing that can go wrong is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from scripts.load.journal import Journal, JournalWriter, digest_of, read_journal
from scripts.load.verify import Verdict, verify
from scripts.load.writer import PLAIN_SCHEMA

SESSION = ("s1", "name", "created", "/repo")
TIME = "2026-01-02T03:04:05.000006+00:00"
MESSAGES = [(f"m{n}", "s1", "user", f"content {n}", f"{TIME}{n}") for n in range(5)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with what `journal` acknowledged."""
    path = tmp_path / "a file?.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(PLAIN_SCHEMA)
        connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, '', '')", SESSION)
        connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", MESSAGES)
    return path


@pytest.fixture
def journal() -> Journal:
    """One writer's notes: a session and five messages, all acknowledged."""
    journal = Journal(began_s=1.0, ended_s=2.0)
    journal.sessions["s1"] = digest_of(*SESSION[1:])
    journal.acknowledged["s1"] = 100
    for message_id, *columns in MESSAGES:
        journal.messages[message_id] = ("s1", digest_of(*columns))
        journal.acknowledged[message_id] = 100
    return journal


def change(database: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(sql, values)


def test_verify_finds_nothing_wrong_with_what_was_acknowledged(
    database: Path, journal: Journal
) -> None:
    verdict = verify(database, [journal])

    assert verdict == Verdict(sessions=1, messages=5)
    assert verdict.is_good


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        pytest.param("DELETE FROM messages WHERE id = 'm2'", {"lost": 1}, id="message-lost"),
        pytest.param("DELETE FROM sessions", {"lost": 1}, id="session-lost"),
        pytest.param(
            "UPDATE messages SET content = 'x' WHERE id = 'm2'", {"changed": 1}, id="changed"
        ),
        pytest.param("UPDATE sessions SET status = 'x'", {"changed": 1}, id="session-changed"),
        pytest.param(
            "INSERT INTO messages SELECT 'other', session_id, role, content, timestamp"
            " FROM messages WHERE id = 'm4'",
            {"doubled": 1},
            id="doubled-under-another-id",
        ),
        pytest.param(
            "INSERT INTO messages VALUES ('m9', 's1', 'user', 'never sent', '')",
            {"unexpected": 1},
            id="never-sent",
        ),
        pytest.param(
            "UPDATE messages SET rowid = 100 WHERE id = 'm3'", {"out_of_order": 1}, id="moved-back"
        ),
        pytest.param(
            "UPDATE messages SET rowid = -1 WHERE id = 'm4'", {"out_of_order": 4}, id="moved-ahead"
        ),
    ],
)
def test_verify_counts_what_is_wrong(
    database: Path, journal: Journal, sql: str, wrong: dict[str, int]
) -> None:
    change(database, sql)

    verdict = verify(database, [journal])

    assert verdict == Verdict(sessions=1, messages=5, **wrong)  # type: ignore[arg-type]
    assert not verdict.is_kept
    assert not verdict.is_good


def test_verify_takes_a_row_that_is_there_twice_under_one_id_for_doubled(
    database: Path, journal: Journal
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            "CREATE TABLE copy AS SELECT * FROM messages; DROP TABLE messages;"
            "ALTER TABLE copy RENAME TO messages; INSERT INTO messages SELECT * FROM messages"
            " WHERE id = 'm4'"
        )

    assert verify(database, [journal]).doubled == 1


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        pytest.param(None, True, id="no-answer-came"),
        pytest.param("outcome_unknown", True, id="outcome-unknown"),
        pytest.param("disk_full", False, id="refused"),
    ],
)
def test_verify_allows_an_unacknowledged_row_only_where_nothing_was_answered(
    database: Path, journal: Journal, code: str | None, kept: bool
) -> None:
    del journal.acknowledged["m2"]
    if code is not None:
        journal.errors["m2"] = code

    verdict = verify(database, [journal])

    assert (verdict.unanswered_kept, verdict.unexpected) == ((1, 0) if kept else (0, 1))
    assert verdict.is_kept is kept
    assert verdict.is_good is (code is None)


def test_a_writer_that_did_not_come_to_its_end_is_counted(database: Path, journal: Journal) -> None:
    journal.ended_s = None

    verdict = verify(database, [journal])

    assert verdict.unfinished_writers == 1
    assert not verdict.is_good


def test_order_is_that_of_sending_also_where_answers_came_in_another(
    database: Path, journal: Journal
) -> None:
    journal.acknowledged = dict(reversed(journal.acknowledged.items()))

    assert verify(database, [journal]).out_of_order == 0


def test_a_journal_reads_back_what_was_noted(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with JournalWriter(path) as writer:
        writer.session_sent("s1", digest="aa")
        writer.failed("s1", "database is locked")
        writer.acknowledged("s1", 0.0015)
        writer.message_sent("m1", session_id="s1", digest="bb")
        writer.acknowledged("m1", 0.25)
        writer.message_sent("m2", session_id="s1", digest="cc")
        writer.failed("m2", "overloaded")
        writer.times(began_s=1.5, ended_s=2.5)

    journal = read_journal(path)

    assert journal.sessions == {"s1": "aa"}
    assert journal.messages == {"m1": ("s1", "bb"), "m2": ("s1", "cc")}
    assert journal.acknowledged == {"s1": 1500, "m1": 250_000}
    assert journal.errors == {"m2": "overloaded"}
    assert journal.retried == {"database_is_locked": 1}
    assert (journal.began_s, journal.ended_s) == (1.5, 2.5)
    assert journal.message_latencies_us() == [250_000]


def test_the_torn_last_line_of_a_killed_writer_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"m m1 s1 aa\na m1 100\nm m2 s1 b")

    journal = read_journal(path)

    assert list(journal.messages) == ["m1"]
    assert journal.ended_s is None


def test_a_line_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"m m1 s1 aa\nx m1 100\n")

    with pytest.raises(ValueError, match="line 2"):
        read_journal(path)


def test_digest_keeps_columns_apart() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
