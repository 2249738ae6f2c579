"""SIGTERM and a new start, again and again, under 16 processes that write."""

from __future__ import annotations

from luludb_client.testing import Daemon
from tests.crash.outages import interrupt_repeatedly, new_seed

RESTARTS = 5
WINDOW = 64
WINDOW_PROCESSES = 4


def test_each_stop_ends_with_0_and_no_client_sees_an_error() -> None:
    outages = interrupt_repeatedly(Daemon.stop, RESTARTS, seed=new_seed())

    print(outages)
    assert outages.verdict.is_good, outages
    assert outages.count == RESTARTS


def test_windows_of_unanswered_commands_go_over_a_restart_whole_and_in_order() -> None:
    outages = interrupt_repeatedly(
        Daemon.stop, RESTARTS - 2, seed=new_seed(), processes=WINDOW_PROCESSES, window=WINDOW
    )

    print(outages)
    assert outages.verdict.is_good, outages
