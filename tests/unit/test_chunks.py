"""Rows that go into one transaction together."""

from itertools import count, islice

import msgpack
import pytest

from luludb.admin import chunks
from luludb.admin.chunks import Chunk, chunks_of
from luludb.admin.rows import Refusal, Row, message_row, session_row
from luludb.limits import IMPORT_CHUNK_CHARACTERS_MAX, IMPORT_CHUNK_ROWS_MAX

TIME = "2026-01-02T03:04:05.000006+00:00"


def session(line: int) -> Row:
    columns = {"name": "n", "status": "created", "working_dir": "/w"}
    times = {"created_at": TIME, "updated_at": TIME}
    return session_row(line, {"id": f"s{line}", **columns, **times})


def message(line: int, content: str = "c") -> Row:
    columns = {"session_id": "s1", "role": "user", "content": content, "timestamp": TIME}
    return message_row(line, {"id": f"m{line}", **columns})


@pytest.mark.parametrize("row", [session(1), message(1)], ids=["session", "message"])
def test_a_row_has_its_columns_in_the_order_of_the_daemons_digest(row):
    assert list(row.args) == sorted(row.args, key=msgpack.packb)


def test_no_more_rows_are_taken_than_go_into_one_transaction():
    lines = count(1)

    first = next(chunks_of(map(message, lines)))

    assert len(first.rows) == IMPORT_CHUNK_ROWS_MAX
    assert next(lines) == IMPORT_CHUNK_ROWS_MAX + 1


def test_long_messages_make_a_transaction_of_fewer_rows():
    content = "x" * (IMPORT_CHUNK_CHARACTERS_MAX // 2)

    first, second = chunks_of(message(line, content) for line in (1, 2, 3))

    assert [row.line for row in first.rows] == [1, 2]
    assert [row.line for row in second.rows] == [3]


def test_every_line_is_in_a_chunk_and_in_order():
    lines = [message(line) if line % 7 else Refusal(line, "invalid", "no") for line in range(3000)]

    found = list(chunks_of(lines))

    assert [entry for chunk in found for entry in chunk.entries] == lines
    assert [row for chunk in found for row in chunk.rows] == [
        entry for entry in lines if isinstance(entry, Row)
    ]


def test_a_chunk_is_packed_as_a_transaction_of_its_rows():
    chunk = Chunk([session(1), Refusal(2, "invalid", "no"), message(3), message(4)])

    chunk.pack()
    chunk.leave_out({3})
    chunk.pack()

    unpacker = msgpack.Unpacker()
    unpacker.feed(chunk.content)
    assert list(unpacker) == [
        "transaction",
        {"commands": [["session.create", session(1).args], ["message.append", message(4).args]]},
    ]


def test_without_a_row_there_is_nothing_to_send():
    chunk = Chunk([Refusal(1, "invalid", "no"), message(2)])
    chunk.pack()

    chunk.leave_out({2})
    chunk.pack()

    assert chunk.content is None


def test_rows_that_cannot_go_together_are_not_packed(monkeypatch):
    monkeypatch.setattr(chunks, "IMPORT_CHUNK_BYTES_MAX", 1000)
    together, too_large, not_text = (
        Chunk([message(1), message(2, content)]) for content in ("x" * 500, "x" * 1000, "\ud800")
    )

    for chunk in (together, too_large, not_text):
        chunk.pack()

    assert together.content is not None
    assert too_large.content is None
    assert not_text.content is None


def test_sessions_are_counted_among_the_rows_that_are_left():
    chunk = Chunk([*map(session, range(1, 4)), *map(message, islice(count(4), 5))])

    chunk.leave_out({1, 4})

    assert chunk.count_sessions() == 2
    assert len(chunk.rows) == 6
