"""What the writers write: conversations of coding agents, made up or those of a JSON lines file."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MADE_UP_COUNT = 160
AGENTS_AT_ONCE = 4
"""Conversations that one writer has open at a time, each getting a message in its turn."""


class Conversation(NamedTuple):
    """One run of an agent: `turns` are (role, content), in order."""

    name: str
    working_dir: str
    turns: Sequence[tuple[str, str]]


class SessionRow(NamedTuple):
    id: str
    name: str
    working_dir: str


class MessageRow(NamedTuple):
    id: str
    session_id: str
    role: str
    content: str
    timestamp: str


Row = SessionRow | MessageRow


def rows_of(conversations: Sequence[Conversation]) -> Iterator[Row]:
    """Endless rows of `conversations`, with new ids each time one comes round again.

    Several are under way at once, as the agents of an orchestrator are. The times are given here,
    because two rows that are the same in all but their ids are taken for one written twice.
    """
    from luludb.ids import new_id
    from luludb.times import now_text

    upcoming = _round_and_round(conversations)
    agents: list[tuple[str, Iterator[tuple[str, str]]]] = []
    while True:
        while len(agents) < AGENTS_AT_ONCE:
            conversation = next(upcoming)
            session_id = new_id()
            agents.append((session_id, iter(conversation.turns)))
            yield SessionRow(session_id, conversation.name, conversation.working_dir)
        for agent in list(agents):
            session_id, turns = agent
            turn = next(turns, None)
            if turn is None:
                agents.remove(agent)
            else:
                yield MessageRow(new_id(), session_id, *turn, now_text())


def _round_and_round(conversations: Sequence[Conversation]) -> Iterator[Conversation]:
    while True:
        yield from conversations


def read_conversations(path: Path) -> list[Conversation]:
    """The conversations of a file of JSON lines, as `luludb export` writes it; `.gz` by name.

    Raises:
        ValueError: a line is not one of those, or there is no message; the text names the line.
        OSError: the file cannot be read.
    """
    found: dict[str, tuple[str, str, list[tuple[str, str]]]] = {}
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    _read_line(json.loads(line), found)
                except (ValueError, KeyError, TypeError) as error:
                    raise ValueError(
                        f"line {number} of {path} is not a session or a message of one before"
                        f" it, as `luludb export` writes them: {type(error).__name__}: {error}"
                    ) from error
    conversations = [Conversation(*columns) for columns in found.values() if columns[2]]
    if not conversations:
        raise ValueError(f"{path} has no message")
    return conversations


def _read_line(row: Any, found: dict[str, tuple[str, str, list[tuple[str, str]]]]) -> None:
    if row["type"] == "session":
        found[row["id"]] = (str(row["name"]), str(row["working_dir"]), [])
    elif row["type"] == "message":
        found[row["session_id"]][2].append((str(row["role"]), str(row["content"])))
    else:
        raise ValueError(f"type is {row['type']!r}")


def fixed_size_conversations(message_bytes: int, turns: int = 50) -> list[Conversation]:
    """One conversation whose messages all have `message_bytes` bytes."""
    text = "all work and no play makes a dull message; "
    content = (text * (message_bytes // len(text) + 1))[:message_bytes]
    return [Conversation("fixed size", "/stress", [("user", content)] * turns)]


def made_up_conversations(seed: int, count: int = MADE_UP_COUNT) -> list[Conversation]:
    """Conversations with roles, shapes and sizes as coding agents have them; same seed, same texts.

    A message has 0.9 KB on average: short requests, reasoning, and tool output of up to 8 KB.
    """
    chance = random.Random(seed)
    return [_made_up(chance) for _ in range(count)]


_MODULES = ("parser", "billing", "session_store", "auth", "scheduler", "cache", "export", "search")
_FAULTS = ("IndexError", "KeyError: 'id'", "TimeoutError", "AssertionError", "UnicodeDecodeError")
_THOUGHTS = (
    "The traceback ends where the list is empty, so the caller must have passed no rows.",
    "Before I change anything, I will look at how the other callers handle this case.",
    "The test was right: the boundary is inclusive here, and exclusive two functions above.",
    "That fits. A smaller change is enough, and the public names stay as they are.",
    "The failure does not come every time, which smells of an order that nobody promised.",
    "I will write the failing test first – it has to fail for the right reason.",
)


def _made_up(chance: random.Random) -> Conversation:
    module = chance.choice(_MODULES)
    turns = [("system", "You are a coding agent. Work in small steps and run the tests often.")]
    turns.append(
        ("user", f"{chance.choice(_FAULTS)} in {module}.py since yesterday. Please mend it.")
    )
    for step in range(chance.randint(4, 14)):
        thoughts = " ".join(chance.choices(_THOUGHTS, k=chance.randint(2, 12)))
        turns.append(("assistant", f"{thoughts}\n\n$ {_command(chance, module)}"))
        turns.append(("tool", _tool_output(chance, module, step)))
    turns.append(("assistant", f"Done: {module}.py is mended, and a test holds it."))
    return Conversation(f"mend {module}", f"/home/dev/projects/{module}", turns)


def _command(chance: random.Random, module: str) -> str:
    return chance.choice(
        (f"pytest -q tests/test_{module}.py", f"rg -n 'def ' src/{module}.py", "git diff --stat")
    )


def _tool_output(chance: random.Random, module: str, step: int) -> str:
    # Most outputs are short and a few are long: a file shown whole, a log.
    lines = min(int(chance.paretovariate(1.0) * 10), 160)
    return "\n".join(
        f"src/{module}.py:{chance.randint(1, 900)}: def {chance.choice(_MODULES)}_{step}(rows):"
        for _ in range(lines)
    )
