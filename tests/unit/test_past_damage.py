"""Rows are read past pages that are damaged, and what lies in these is told."""

import random
import re
import sqlite3
from contextlib import closing

import pytest

from luludb.admin import past_damage
from luludb.admin.past_damage import Gap, rows_past_damage

PAGE_BYTES = 1024
ROWS = 3000


@pytest.fixture
def path(tmp_path):
    """A table of three levels: some four rows a leaf, and a hundred leaves below a page."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, content TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", map(row_of, range(1, ROWS + 1)))
    return path


def row_of(number):
    return (f"id {number}", f"<{number}>" + "x" * 200)


def spoil(path, *pages):
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE_BYTES)
            file.write(b"\xff" * PAGE_BYTES)


def pages_of(path, kind):
    """The pages of this kind: 5, of the table and above its leaves; 10, the leaves of the index."""
    data = path.read_bytes()
    return [
        at // PAGE_BYTES + 1
        for at in range(PAGE_BYTES, len(data), PAGE_BYTES)  # the first page is the schema's
        if data[at] == kind
    ]


def leaves(path):
    """The page of each row."""
    found = re.finditer(rb"<(\d+)>", path.read_bytes())
    return {int(each[1]): each.start() // PAGE_BYTES + 1 for each in found}


def read(path):
    """The numbers of the rows that are read, and the gaps."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = list(rows_past_damage(connection, "t", "id, content"))
    rows = [each for each in found if not isinstance(each, Gap)]
    numbers = [int(id.removeprefix("id ")) for id, _ in rows]
    assert rows == [row_of(number) for number in numbers]
    assert numbers == sorted(set(numbers))
    return numbers, [each for each in found if isinstance(each, Gap)]


def test_a_table_that_is_whole_is_read_whole(path):
    assert read(path) == ([*range(1, ROWS + 1)], [])


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param([1], id="the-first"),
        pytest.param([1500], id="in-the-middle"),
        pytest.param([1500, 1508], id="a-whole-one-between"),
        pytest.param([1500, 1504], id="neighbours"),
        pytest.param([1, 700, 1500, 2995], id="several"),
    ],
)
def test_only_what_lies_in_a_damaged_leaf_is_missing(path, spoilt):
    page_of = leaves(path)
    pages = {page_of[number] for number in spoilt}
    lost = [number for number in range(1, ROWS + 1) if page_of[number] in pages]

    spoil(path, *pages)
    numbers, gaps = read(path)

    assert sorted([*numbers, *lost]) == [*range(1, ROWS + 1)]
    told = [number for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert told == lost
    assert "malformed" in str(gaps[0])


def test_a_damaged_end_is_told(path, monkeypatch):
    monkeypatch.setattr(past_damage, "DAMAGE_ATTEMPTS_MAX", 1000)
    spoil(path, leaves(path)[ROWS])

    numbers, (gap,) = read(path)

    assert numbers == [*range(1, gap.first)]
    assert (gap.last, "to the end" in str(gap)) == (None, True)


@pytest.mark.parametrize("seeks_max", [100, 100_000])
def test_what_lies_below_a_damaged_page_of_a_higher_level_is_all_that_is_missing(
    path, monkeypatch, seeks_max
):
    monkeypatch.setattr(past_damage, "DAMAGE_ATTEMPTS_MAX", seeks_max)
    # The root is the first of its kind; behind it come those of the level below, in their order.
    spoil(path, pages_of(path, 5)[2])

    numbers, (gap,) = read(path)

    assert ROWS // 2 < len(numbers) < ROWS
    assert numbers == [number for number in range(1, ROWS + 1) if not is_in(gap, number)]


def is_in(gap, number):
    return gap.first <= number <= gap.last


def test_a_damaged_index_costs_nothing(path):
    spoil(path, *pages_of(path, 10))

    assert read(path) == ([*range(1, ROWS + 1)], [])


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_damaged_no_row_is_made_up_and_the_reading_ends(path, seed):
    numbers = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        at = numbers.randrange(PAGE_BYTES, len(data) - 64)
        data[at : at + 64] = numbers.randbytes(64)
    path.write_bytes(data)

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        found = list(rows_past_damage(connection, "t", "id, content"))

    assert len(found) > ROWS // 2
