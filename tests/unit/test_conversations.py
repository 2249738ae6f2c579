"""What the writers of demo and stress write."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pytest

from scripts.load.conversations import (
    Conversation,
    MessageRow,
    SessionRow,
    fixed_size_conversations,
    made_up_conversations,
    read_conversations,
    rows_of,
)
from scripts.load.crowd import deal, percentile

SESSION = '{"type": "session", "id": "s1", "name": "n", "working_dir": "/w"}\n'
MESSAGE = '{"type": "message", "id": "m1", "session_id": "s1", "role": "user", "content": "hé"}\n'


def test_rows_hold_every_conversation_whole_and_in_order_and_begin_again() -> None:
    conversations = [
        Conversation(f"c{n}", "/w", [("user", f"{n}.{k}") for k in range(n + 1)]) for n in range(6)
    ]

    rows = list(islice(rows_of(conversations), 200))

    names = {row.id: row.name for row in rows if isinstance(row, SessionRow)}
    told: dict[str, list[str]] = {session_id: [] for session_id in names}
    for row in rows:
        if isinstance(row, MessageRow):
            told[row.session_id].append(row.content)
    assert len(names) > len(conversations)
    assert len({row.id for row in rows}) == 200
    for session_id, contents in told.items():
        number = int(names[session_id][1:])
        assert contents == [f"{number}.{k}" for k in range(number + 1)][: len(contents)]


def test_made_up_conversations_are_the_same_for_the_same_seed() -> None:
    assert made_up_conversations(7) == made_up_conversations(7)
    assert made_up_conversations(7) != made_up_conversations(8)


@pytest.mark.parametrize("message_bytes", [0, 1, 43, 100_000])
def test_fixed_size_messages_have_that_size(message_bytes: int) -> None:
    turns = fixed_size_conversations(message_bytes)[0].turns

    assert {len(content.encode()) for _, content in turns} == {message_bytes}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_read_conversations_reads_json_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = (SESSION + "\n" + MESSAGE).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)

    assert read_conversations(path) == [Conversation("n", "/w", [("user", "hé")])]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(SESSION + "{", "line 2", id="broken-json"),
        pytest.param(MESSAGE, "line 1", id="message-of-no-session"),
        pytest.param("[]\n", "line 1", id="not-an-object"),
        pytest.param('{"type": "x"}\n', "line 1", id="another-type"),
        pytest.param(SESSION, "no message", id="no-message"),
        pytest.param("", "no message", id="empty"),
    ],
)
def test_read_conversations_names_the_line_that_is_wrong(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)

    with pytest.raises(ValueError, match=told):
        read_conversations(path)


def test_deal_gives_every_writer_a_conversation(tmp_path: Path) -> None:
    few = [Conversation(f"c{n}", "/w", [("user", "x")]) for n in range(3)]

    paths = deal(few, tmp_path, 5)

    assert [path.read_text().count("/w") for path in paths] == [1, 1, 1, 1, 1]
    assert "c1" in paths[4].read_text()


@pytest.mark.parametrize(
    ("ordered", "percent", "expected"),
    [
        pytest.param([], 50, 0, id="none"),
        pytest.param([1], 99, 1, id="one"),
        pytest.param(list(range(1, 101)), 50, 50, id="middle"),
        pytest.param(list(range(1, 101)), 99, 99, id="high"),
        pytest.param(list(range(1, 101)), 100, 100, id="highest"),
    ],
)
def test_percentile_is_the_nearest_rank(ordered: list[int], percent: int, expected: int) -> None:
    assert percentile(ordered, percent) == expected
