"""Bounds that only hold together."""

from luludb import limits


def test_a_client_waits_for_hello_longer_than_the_daemon_waits_for_a_lock() -> None:
    assert limits.GREETING_S_MAX * 1000 > limits.LOCK_WAIT_MS_MAX + 1000
