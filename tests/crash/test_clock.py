"""The wall clock jumps back and forth by a year, while clients write and the daemon restarts."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.crash.chaos import crowd_of, report_of, wait_for_bytes
from tests.crash.clock import WallClock
from tests.crash.outages import new_seed
from tests.peer import connected

YEAR_S = 365 * 24 * 3600
JUMPS_S = (YEAR_S, -YEAR_S, 0, -YEAR_S, YEAR_S, 0)
HISTORY_BYTES_A_JUMP = 50_000
ENV = {"LULUDB_CLIENT_DAYS_KEPT": "1"}


def test_jumps_of_the_clock_double_reorder_and_forget_nothing(tmp_path: Path) -> None:
    seed = new_seed()
    with (
        WallClock(tmp_path) as clock,
        running_daemon(env={**ENV, **clock.env}) as daemon,
        crowd_of(daemon.home, tmp_path, seed=seed, kinds=("library", "wire")) as crowd,
    ):
        for number, jump_s in enumerate(JUMPS_S):
            clock.set(jump_s)
            for client in crowd.clients:
                size = client.history.stat().st_size if client.history.exists() else 0
                wait_for_bytes(client.history, size + HISTORY_BYTES_A_JUMP)
            if number % 2:
                daemon.kill()
                daemon.start()

        problems = crowd.end()
        daemon.stop()
        report = report_of(crowd, daemon.home / "lulu.db", problems)

    print(f"seed {seed}: {report}")
    assert not report.findings, f"seed {seed}: {report}"
    assert not report.unanswered


def test_messages_are_read_in_the_order_of_their_appending_whatever_their_times(
    tmp_path: Path,
) -> None:
    with (
        WallClock(tmp_path) as clock,
        running_daemon(env={**ENV, **clock.env}) as daemon,
        Client(daemon.home) as client,
    ):
        session = client.create_session("n", "/w")
        futures: list[Future[dict[str, Any]]] = []
        for jump_s, number in itertools.product(JUMPS_S, range(20)):
            clock.set(jump_s)
            futures.append(
                client.submit(
                    "message.append",
                    session_id=session.id,
                    role="user",
                    content=f"{jump_s} {number}",
                )
            )
            if number % 5 == 4:
                client.flush()
        revs = [future.result()["rev"] for future in futures]
        times = [future.result()["message"]["timestamp"] for future in futures]
        read = [message.content for message in client.list_messages(session.id)]

    assert revs == sorted(set(revs))
    assert read == [f"{jump_s} {number}" for jump_s in JUMPS_S for number in range(20)]
    assert times != sorted(times)
    earliest, latest = (datetime.fromisoformat(pick(times)) for pick in (min, max))
    assert latest - earliest > timedelta(days=700), "the clock of the daemon did not jump"


def test_no_client_is_forgotten_because_of_the_wall_clock(tmp_path: Path) -> None:
    client_id = os.urandom(16)
    with WallClock(tmp_path) as clock, running_daemon(env={**ENV, **clock.env}) as daemon:
        with connected(daemon.home, client_id) as peer:
            session_id = peer.create_session()
            first = peer.exchange(
                "message.append",
                {"session_id": session_id, "role": "user", "content": "hi"},
                seq=2,
            )
        for jump_s in (YEAR_S, -YEAR_S, YEAR_S):
            clock.set(jump_s)
            daemon.stop()
            daemon.start()

            with connected(daemon.home, client_id, hello=False) as peer:
                hello = peer.hello()
                again = peer.exchange(
                    "message.append",
                    {"session_id": session_id, "role": "user", "content": "hi"},
                    seq=2,
                )

            assert (hello["registered"], hello["last_seq"]) == (False, 2)
            assert again == first
