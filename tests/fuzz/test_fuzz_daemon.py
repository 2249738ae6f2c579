"""A running daemon under fuzzed frames, garbage connections, and clients that never read."""

from __future__ import annotations

import os
import tempfile

import zmq

from luludb.limits import SOCKET_QUEUE_MESSAGES_MAX
from luludb_client.testing import running_daemon
from tests.crash.outages import new_seed
from tests.fuzz.attacks import attack, beside_honest_writers, deaf_dealer, resident_bytes
from tests.peer import connected, request

FRAMES = 2000
CONNECTIONS = 100
GROWTH_BYTES_MAX = 32 * 2**20
DEAF_CLIENTS = 8
DEAF_REQUESTS = 4000
DEAF_REQUESTS_AT_ONCE = 100
SETTLED_GROWTH_BYTES_MAX = 16 * 2**20


def test_fuzzed_frames_and_garbage_connections_disturb_nobody() -> None:
    found = attack(FRAMES, CONNECTIONS, seed=new_seed())

    print(found)
    assert found.is_survived, found
    assert (found.frames, found.connections) == (FRAMES, CONNECTIONS)
    assert found.verdict.messages > 100
    assert found.growth_bytes < GROWTH_BYTES_MAX, found


def test_clients_that_never_read_their_replies_hold_up_nobody_and_cost_bounded_memory() -> None:
    seed = new_seed()
    session_name = "x" * 4000  # comes back in every reply
    with (
        tempfile.TemporaryDirectory(prefix="lulu-deaf-") as name,
        running_daemon(name) as daemon,
        zmq.Context() as context,
    ):
        with connected(daemon.home) as peer:
            session_id = peer.create_session(name=session_name)
        dealers = [deaf_dealer(context, daemon.home) for _ in range(DEAF_CLIENTS)]
        client_ids = [os.urandom(16) for _ in dealers]
        for dealer, client_id in zip(dealers, client_ids, strict=True):
            dealer.send(request(client_id, 0, "hello", {}))
            dealer.send(request(client_id, 1, "session.update", {"id": session_id, "status": "s"}))
        sent = 0
        settled_bytes = 0

        def is_going_on() -> bool:
            # Each asks for the same kept reply of 4 KB again and again.
            nonlocal sent, settled_bytes
            for dealer, client_id in zip(dealers, client_ids, strict=True):
                again = request(client_id, 1, "session.update", {"id": session_id, "status": "s"})
                for _ in range(DEAF_REQUESTS_AT_ONCE):
                    dealer.send(again)
            sent += DEAF_REQUESTS_AT_ONCE
            if sent == DEAF_REQUESTS // 2:
                # By now each one's queue is full.
                assert sent > 2 * SOCKET_QUEUE_MESSAGES_MAX
                settled_bytes = resident_bytes(daemon.home)
            if sent == DEAF_REQUESTS:
                settled_bytes = resident_bytes(daemon.home) - settled_bytes
            return sent < DEAF_REQUESTS

        growth_bytes, verdict = beside_honest_writers(daemon, is_going_on, seed=seed)
        for dealer in dealers:
            dealer.close()

    print(
        f"seed {seed}: {DEAF_CLIENTS * sent} replies unread; grew by {growth_bytes} bytes,"
        f" in the second half by {settled_bytes}"
    )
    assert settled_bytes < SETTLED_GROWTH_BYTES_MAX
    assert growth_bytes < 2 * GROWTH_BYTES_MAX
    assert not verdict.errors, verdict
    assert not verdict.lost, verdict
    assert not verdict.out_of_order, verdict
