"""kill -9 of the daemon, again and again, under 16 processes that write."""

from __future__ import annotations

from luludb_client.testing import Daemon
from tests.crash.outages import interrupt_repeatedly, new_seed

KILLS = 20
WINDOW = 64
WINDOW_PROCESSES = 4


def test_no_client_notices_that_the_daemon_is_killed_but_for_the_time() -> None:
    outages = interrupt_repeatedly(Daemon.kill, KILLS, seed=new_seed())

    print(outages)
    assert outages.verdict.is_good, outages
    assert outages.count == KILLS
    assert outages.verdict.messages > 100


def test_windows_of_unanswered_commands_outlive_a_kill_whole_and_in_order() -> None:
    outages = interrupt_repeatedly(
        Daemon.kill, KILLS // 4, seed=new_seed(), processes=WINDOW_PROCESSES, window=WINDOW
    )

    print(outages)
    assert outages.verdict.is_good, outages
