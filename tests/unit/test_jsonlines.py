"""Lines to rows and back."""

import gzip
import io
import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb.admin.jsonlines import read_rows, row_line
from luludb.admin.rows import Refusal, Row
from luludb.model import Message, Session

SESSION = Session(
    id="s1",
    name="a name",
    status="created",
    working_dir="/work",
    created_at="2026-01-02T03:04:05.000006+00:00",
    updated_at="2026-01-02T03:04:05.000006+00:00",
)
MESSAGE = Message(
    id="m1",
    session_id="s1",
    role="user",
    content='two\nlines, "quotes", é, \u2028 and \0',
    timestamp="2026-01-02T03:04:05.000006+00:00",
)


def row(line: int, content: Session | Message) -> Row:
    op = "session.create" if isinstance(content, Session) else "message.append"
    return Row(line, op, asdict(content))


def session_object(**changes: object) -> dict[str, object]:
    return {**json.loads(row_line(SESSION)), **changes}


def read(data: bytes, **bounds: int) -> list[Row | Refusal]:
    return list(read_rows(io.BufferedReader(io.BytesIO(data)), **bounds))


def test_a_line_has_the_type_first_and_then_the_columns_of_the_table():
    session = json.loads(row_line(SESSION))
    message = json.loads(row_line(MESSAGE))

    assert list(session) == [
        "type",
        "id",
        "name",
        "status",
        "working_dir",
        "created_at",
        "updated_at",
    ]
    assert list(message) == ["type", "id", "session_id", "role", "content", "timestamp"]


def test_characters_beyond_ascii_are_written_as_they_are():
    assert "é".encode() in row_line(MESSAGE)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_a_row_that_is_written_and_read_is_the_same(name, content):
    session = Session("s", name, "created", "/", "t", "t")
    message = Message("m", "s", "user", content, "t")

    rows = read(row_line(session) + row_line(message))

    assert rows == [row(1, session), row(2, message)]


def test_blank_lines_are_passed_over_and_counted():
    rows = read(b"\n  \r\n" + row_line(SESSION) + b"\n" + row_line(MESSAGE))

    assert rows == [row(3, SESSION), row(5, MESSAGE)]


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated():
    line = b"\xef\xbb\xbf" + row_line(SESSION).rstrip(b"\n") + b"\r\n"

    assert read(line) == [row(1, SESSION)]


@pytest.mark.parametrize("space", [b" ", b"\t", b"\r", b" \t "])
def test_space_before_and_behind_an_object_is_passed_over(space):
    line = space + row_line(MESSAGE).rstrip(b"\n") + space + b"\n"

    assert read(line) == [row(1, MESSAGE)]


def test_the_last_line_needs_no_line_feed():
    assert read(row_line(SESSION).rstrip(b"\n")) == [row(1, SESSION)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"{", "not JSON", id="cut-off"),
        pytest.param(b"{} {}", "not JSON", id="two-objects"),
        pytest.param(b"\xff\xfe", "not UTF-8", id="not-utf-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "not UTF-8", id="utf-16"),
        pytest.param(b"[" * 100_000, "cannot be read", id="nested-too-deep"),
        pytest.param(b"1" * 10_000, "cannot be read", id="number-too-long"),
        pytest.param(b"[1]", "a list; it must be an object", id="a-list"),
        pytest.param(b'"x"', '"x"; it must be an object', id="a-text"),
        pytest.param(b"null", "null; it must be an object", id="null"),
        pytest.param(b"{}", 'no "type"', id="without-type"),
        pytest.param(b'{"type": "note"}', 'type is "note"', id="unknown-type"),
        pytest.param(b'{"type": {}}', "type is an object", id="type-not-a-text"),
        pytest.param(b'{"type": "session"}', "no id", id="missing-field"),
        pytest.param(
            json.dumps(session_object(mood="good")).encode(), '"mood"', id="unknown-field"
        ),
        pytest.param(json.dumps(session_object(name=1)).encode(), "name is a number", id="number"),
        pytest.param(
            json.dumps(session_object(status=None)).encode(), "status is null", id="null-field"
        ),
        pytest.param(json.dumps(session_object(id=True)).encode(), "id is true", id="boolean"),
    ],
)
def test_a_line_that_holds_no_row_is_refused_and_the_next_one_read(line, words):
    first, second = read(line + b"\n" + row_line(MESSAGE))

    assert isinstance(first, Refusal)
    assert (first.line, first.code) == (1, "invalid")
    assert words in first.message
    assert second == row(2, MESSAGE)


def test_a_refusal_quotes_no_more_than_an_excerpt():
    (refusal,) = read(json.dumps({"type": "x" * 10_000}).encode())

    assert isinstance(refusal, Refusal)
    assert len(refusal.message) < 300


def test_a_line_that_is_too_long_is_refused_and_the_next_one_read():
    lines = b"x" * 1000 + b"\n" + row_line(MESSAGE)

    first, second = read(lines, line_bytes_max=400)

    assert first == Refusal(1, "too_large", "line has 1001 bytes; the most is 400")
    assert second == row(2, MESSAGE)


def test_a_packed_file_that_was_cut_off_ends_in_a_refusal():
    packed = gzip.compress(row_line(SESSION) + b"".join(row_line(MESSAGE) for _ in range(100)))

    with gzip.open(io.BytesIO(packed[:-20])) as stream:
        *_, last = read_rows(stream)

    assert isinstance(last, Refusal)
    assert "cannot be read" in last.message
