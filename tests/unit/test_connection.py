"""How long the daemon waits for another program's lock, and which SQLite it accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from luludb.daemon import connection as connection_module
from luludb.daemon.connection import LockWait, check_sqlite_version
from luludb.errors import StartRefused
from luludb.home import Home
from luludb.limits import LOCK_FORGOTTEN_S, LOCK_WAIT_AGAIN_MS_MAX, LOCK_WAIT_MS_MAX


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(connection_module, "time", fake)
    return fake


def waited_ms(lock_wait: LockWait, time: Time) -> float:
    """How long SQLite would try for a lock that is never given back."""
    started_s = time.now_s
    attempt = 0
    while lock_wait(attempt):
        attempt += 1
    return (time.now_s - started_s) * 1000


def test_a_lock_is_waited_for_in_full_and_after_that_only_looked_at(
    tmp_path: Path, time: Time
) -> None:
    lock_wait = LockWait(Home(tmp_path), lambda: False)

    first, second = waited_ms(lock_wait, time), waited_ms(lock_wait, time)
    time.now_s += LOCK_FORGOTTEN_S
    third = waited_ms(lock_wait, time)

    assert LOCK_WAIT_MS_MAX <= first < LOCK_WAIT_MS_MAX + 50
    assert LOCK_WAIT_AGAIN_MS_MAX <= second < LOCK_WAIT_AGAIN_MS_MAX + 50
    assert third >= LOCK_WAIT_MS_MAX
    assert lock_wait.waits_total == 3


def test_a_stop_ends_the_wait(tmp_path: Path, time: Time) -> None:
    lock_wait = LockWait(Home(tmp_path), lambda: time.now_s > 100.1)

    assert waited_ms(lock_wait, time) < 200


def test_who_is_not_patient_does_not_wait(tmp_path: Path, time: Time) -> None:
    lock_wait = LockWait(Home(tmp_path), lambda: False)
    lock_wait.patient = False

    assert waited_ms(lock_wait, time) == 0
    assert lock_wait.waits_total == 0


@pytest.mark.parametrize("version", ["3.7.0", "3.51.2", "3.40.1"])
def test_a_sqlite_inside_the_range_of_the_corruption_bug_is_refused(version: str) -> None:
    with pytest.raises(StartRefused, match=r"3\.51\.3"):
        check_sqlite_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_sqlite_without_that_bug_is_accepted(version: str) -> None:
    check_sqlite_version(version)
