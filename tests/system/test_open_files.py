"""What happens at the limit on open files, which only a crowd of connections can reach."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

from tests.peer import connected, discovery
from tests.serving import Server, serving
from tests.system.conftest import read_rows

LIMIT = 64
CONNECTIONS = 2 * LIMIT
DEADLINE_S = 20


def crowd(stack: contextlib.ExitStack, home: Path, server: Server) -> int:
    """Connect, and say nothing, until all are there or the daemon is gone. Returns how many."""
    path = discovery(home)["command"].removeprefix("ipc://")
    for count in range(CONNECTIONS):
        connection = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        connection.settimeout(DEADLINE_S)
        try:
            connection.connect(path)
        except ConnectionError:
            server.wait_for_exit()
            return count
    return CONNECTIONS


def test_the_limit_is_raised_as_far_as_it_may_be(fresh_home: Path) -> None:
    with (
        serving(fresh_home, open_files=(LIMIT, 4 * CONNECTIONS)) as server,
        contextlib.ExitStack() as stack,
        connected(fresh_home) as peer,
    ):
        assert crowd(stack, fresh_home, server) == CONNECTIONS
        with connected(fresh_home) as newcomer:
            newcomer.create_session(id="s")
            peer.append("s")
            assert peer.status()["open_files"] > CONNECTIONS
        assert server.signal(signal.SIGTERM) == 0


def test_at_the_limit_the_daemon_dies_and_the_next_one_has_all_that_was_acknowledged(
    fresh_home: Path,
) -> None:
    with serving(fresh_home, open_files=(LIMIT, LIMIT)) as server, contextlib.ExitStack() as stack:
        peer = stack.enter_context(connected(fresh_home))
        peer.create_session(id="s")
        acknowledged = [peer.append("s", f"{number}") for number in range(100)]
        last_sent = ("message.append", {"session_id": "s", "role": "user", "content": "last"})
        last = peer.exchange(*last_sent, seq=102, acked=101)

        crowd(stack, fresh_home, server)

        assert server.wait_for_exit() == -signal.SIGABRT
    with serving(fresh_home) as server, connected(fresh_home, peer.client_id) as again:
        assert again.seq == 102
        assert again.exchange(*last_sent, seq=102, acked=101) == last
        assert again.append("s", "next")
        assert server.signal(signal.SIGTERM) == 0

    rows = read_rows(fresh_home, "SELECT id, content FROM messages ORDER BY rowid")
    assert [id for id, _ in rows][:100] == acknowledged
    assert [content for _, content in rows] == [*map(str, range(100)), "last", "next"]
    assert read_rows(fresh_home, "PRAGMA integrity_check") == [("ok",)]
