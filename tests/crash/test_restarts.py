"""SIGTERM and a new start, again and again, under 16 processes that write."""

from __future__ import annotations

from luludb_client.testing import Daemon
from tests.crash.outages import Outages, interrupt_repeatedly, new_seed

RESTARTS = 5


def restart_repeatedly(count: int, *, seed: int, window: int = 1) -> Outages:
    """Stop the daemon `count` times at random moments under writers.

    Raises:
        RuntimeError: a daemon did not end with 0.
    """
    return interrupt_repeatedly(Daemon.stop, count, seed=seed, window=window)


def test_each_stop_ends_with_0_and_no_client_sees_an_error() -> None:
    outages = restart_repeatedly(RESTARTS, seed=new_seed())

    print(outages)
    assert outages.verdict.is_good, outages
    assert outages.count == RESTARTS


def test_windows_of_unanswered_commands_go_over_a_restart_whole_and_in_order() -> None:
    outages = restart_repeatedly(RESTARTS - 2, seed=new_seed(), window=64)

    print(outages)
    assert outages.verdict.is_good, outages
