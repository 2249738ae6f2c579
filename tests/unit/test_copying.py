"""A copy of a database is one state of it, and comes to its end whoever writes meanwhile."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest

from luludb.admin import copying
from luludb.admin.copying import copy_pages, damage_of, snapshot

ROWS = 500


def quiet(_verb: str, _done: int, _total: int | None) -> None:
    pass


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a %?# b.db"
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, body TEXT)")
        for number in range(ROWS):
            connection.execute("INSERT INTO numbers VALUES (?, ?)", (number, "x" * 1000))
    return path


def test_a_copy_ends_and_is_one_state_though_each_of_its_steps_meets_a_commit(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "COPY_PAGES_MAX", 5)
    steps = []
    with contextlib.closing(apsw.Connection(str(database))) as writer:

        def write_and_change(verb: str, done: int, total: int | None) -> None:
            steps.append((verb, done, total))
            assert len(steps) < ROWS, "the copy began anew again and again"
            writer.execute("INSERT INTO numbers (body) VALUES ('later')")
            writer.execute("UPDATE numbers SET body = 'changed' WHERE number = ?", (len(steps),))

        with snapshot(database) as source:
            copy_pages(source, tmp_path / "copy.db", show=write_and_change, verb="copying")

    assert len(steps) > 10
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1][1] == steps[-1][2]
    with contextlib.closing(apsw.Connection(str(tmp_path / "copy.db"))) as copy:
        found = copy.execute("SELECT number, body FROM numbers").fetchall()
    assert found == [(number, "x" * 1000) for number in range(ROWS)]


def test_a_copy_is_one_file_with_nothing_beside_it(database: Path, tmp_path: Path) -> None:
    directory = tmp_path / "copies"
    directory.mkdir()

    with snapshot(database) as source:
        copy_pages(source, directory / "copy.db", show=quiet, verb="copying")

    assert damage_of(directory / "copy.db", show=quiet) is None
    assert [path.name for path in directory.iterdir()] == ["copy.db"]


def test_a_snapshot_cannot_write(database: Path) -> None:
    with snapshot(database) as source, pytest.raises(apsw.ReadOnlyError):
        source.execute("DELETE FROM numbers")
