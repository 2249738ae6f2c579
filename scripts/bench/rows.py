"""The rows that a measured client writes: real conversations, as plain tuples."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from luludb.ids import new_id
from luludb.times import now_text
from scripts.load.conversations import Conversation

Session = tuple[str, str, str, str, str, str]
"""`(id, name, status, working_dir, created_at, updated_at)`"""
Message = tuple[str, str, str, str, str]
"""`(id, session_id, role, content, timestamp)`"""
# Exact tuples of texts are left alone by Python's garbage collector, so that a client may keep all
# that it sent without slowing down what is measured.

SESSIONS_OF_A_CLIENT = 16
SESSION_COLUMNS = ("id", "name", "status", "working_dir", "created_at", "updated_at")
MESSAGE_COLUMNS = ("id", "session_id", "role", "content", "timestamp")


def sessions_of(
    conversations: Sequence[Conversation], count: int = SESSIONS_OF_A_CLIENT
) -> list[Session]:
    """New sessions for one client, named as the first conversations are."""
    chosen = itertools.islice(itertools.cycle(conversations), count)
    now = now_text()
    return [
        (new_id(), conversation.name, "created", conversation.working_dir, now, now)
        for conversation in chosen
    ]


def endless_messages(
    conversations: Sequence[Conversation], sessions: Sequence[Session]
) -> Iterator[Message]:
    """The turns of `conversations`, over and over, dealt to `sessions` in turn."""
    turns = [turn for conversation in conversations for turn in conversation.turns]
    places = itertools.cycle([session[0] for session in sessions])
    for role, content in itertools.cycle(turns):
        yield new_id(), next(places), role, content, now_text()


def rows_of_file(path: Path, count: int = 1000) -> Iterator[tuple[list[Session], list[Message]]]:
    """The rows of a file of JSON lines, `count` at a time; sessions come before their messages."""
    with open_lines(path) as file:
        for lines in iter(lambda: list(itertools.islice(file, count)), []):
            sessions: list[Session] = []
            messages: list[Message] = []
            for line in lines:
                row = json.loads(line)
                if row.pop("type") == "session":
                    sessions.append(cast("Session", tuple(map(row.get, SESSION_COLUMNS))))
                else:
                    messages.append(cast("Message", tuple(map(row.get, MESSAGE_COLUMNS))))
            yield sessions, messages


def open_lines(path: Path) -> IO[bytes]:
    """A file of JSON lines; `.gz` by name."""
    return cast("IO[bytes]", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
