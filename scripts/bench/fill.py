"""Fills a home with messages before its daemon starts, as if it had been in use for long.

Run as `python -m scripts.bench.fill DIRECTORY MESSAGES CONVERSATIONS`. It prints `ready`, and at
the end a line of JSON with the ids of some sessions and messages from all over the file.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from luludb.settings import Settings
from luludb.tables import meta
from scripts.bench.limit import LimitClient, connected
from scripts.bench.processes import running
from scripts.bench.rows import endless_messages, sessions_of
from scripts.load.conversations import Conversation

MESSAGES_A_SESSION = 100
SESSIONS_TOGETHER = 100
IDS_MAX = 2000
FILL_S_MAX = 1800.0


@dataclass(frozen=True, slots=True)
class Filled:
    """Ids from all over a home that was filled: each session has MESSAGES_A_SESSION messages."""

    messages: int
    session_ids: list[str]
    message_ids: list[str]


def fill(directory: Path, messages: int, conversations: Path) -> Filled:
    """Fill a new home, in a process of its own since apsw must not be in this one.

    Raises:
        ProcessFailed: it could not, or not in half an hour.
    """
    with running("scripts.bench.fill", str(directory), str(messages), str(conversations)) as other:
        answer = json.loads(other.read_line(time.monotonic() + FILL_S_MAX))
    return Filled(messages, answer["session_ids"], answer["message_ids"])


def main() -> None:
    """Write whole sessions until there are as many messages as asked for."""
    directory, count, file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dealt = json.loads(file.read_text(encoding="utf-8"))
    conversations = [Conversation(*columns) for columns in dealt]
    print("ready", flush=True)
    with connected(directory, "normal") as client:
        found = _write(client, count, conversations)
    print(json.dumps(found), flush=True)


def _write(client: LimitClient, count: int, conversations: list[Conversation]) -> dict[str, object]:
    kept_max = Settings().changes_kept_max
    session_ids: list[str] = []
    message_ids: list[str] = []
    for first in range(0, count, SESSIONS_TOGETHER * MESSAGES_A_SESSION):
        sessions = sessions_of(conversations, SESSIONS_TOGETHER)
        wanted = min(count - first, SESSIONS_TOGETHER * MESSAGES_A_SESSION)
        messages = list(itertools.islice(endless_messages(conversations, sessions), wanted))
        client.begin()
        for session in sessions:
            client.create_session(session)
        client.add_messages(messages)
        # A daemon would have deleted the changes before those, so they are not written at all.
        if count - first - wanted < kept_max:
            client.rev = first
            client.add_changes("message.append", [(each[1], each[0]) for each in messages])
        client.commit()
        session_ids.append(sessions[0][0])
        message_ids.append(messages[len(messages) // 2][0])
    client.begin()
    (first_rev,) = client.connection.execute("SELECT min(rev) FROM lulu_changes").fetchone() or (1,)
    meta.write(client.connection, "first_rev", first_rev)
    meta.write(client.connection, "last_rev", count)
    client.commit()
    step = len(session_ids) // IDS_MAX + 1
    return {"session_ids": session_ids[::step], "message_ids": message_ids[::step]}


if __name__ == "__main__":
    main()
