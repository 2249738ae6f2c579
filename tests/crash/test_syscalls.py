"""System calls that fail, or in which the daemon is killed: nothing is acknowledged falsely."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from tests.crash.sweeps import count_calls, sweep

COMMANDS = 3

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="tool: strace is not installed"
)


@pytest.fixture(scope="module")
def calls() -> Counter[str]:
    return count_calls(COMMANDS)


def test_a_sync_that_fails_ends_the_daemon_without_a_reply(calls: Counter[str]) -> None:
    figures = sweep(COMMANDS, [("fdatasync", "EIO")], calls, each_max=9)

    print(figures)
    # SQLite itself passes over the sync of a directory; every other one ends the daemon.
    assert set(figures.endings["fdatasync EIO"]) <= {
        "starting, exit 4",
        "serving, exit 4",
        "serving, exit 0",
    }
    assert figures.endings["fdatasync EIO"]["serving, exit 4"] > 0


def test_a_write_that_fails_ends_the_daemon_without_a_reply(calls: Counter[str]) -> None:
    figures = sweep(COMMANDS, [("pwrite64", "EIO"), ("ftruncate", "EIO")], calls, each_max=4)

    print(figures)
    assert figures.endings["pwrite64 EIO"]["serving, exit 4"] > 0


def test_a_write_that_finds_no_room_is_refused_and_the_daemon_goes_on(calls: Counter[str]) -> None:
    # The eight writes that make lulu.db-shm as long as it must be are among them.
    each_max = calls["pwrite64"] // 8 + 2
    figures = sweep(COMMANDS, [("pwrite64", "ENOSPC")], calls, each_max=each_max)

    print(figures)
    assert figures.endings["pwrite64 ENOSPC"]["serving, exit 0"] > 0
    assert figures.refused_full > 0


def test_a_daemon_killed_inside_a_call_is_followed_by_one_that_answers_the_same(
    calls: Counter[str],
) -> None:
    kinds = [("fdatasync", None), ("pwrite64", None), ("ftruncate", None)]
    figures = sweep(COMMANDS, kinds, calls, each_max=4)

    print(figures)
    assert figures.trials == sum(min(4, calls[call]) for call, _ in kinds)
