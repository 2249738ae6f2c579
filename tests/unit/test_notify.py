"""What systemd is told, and how often."""

import os
import socket
import time

import pytest

from luludb.daemon import loop
from luludb.daemon.notify import ServiceManager
from luludb.home import Home
from luludb.limits import POLL_MS_MAX
from luludb.settings import Settings

WATCHED = {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())}


@pytest.fixture(params=["path", "abstract"])
def listener(request, short_path):
    """A socket like systemd's, and the address that `NOTIFY_SOCKET` has for it."""
    name = str(short_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name if request.param == "path" else "\0" + name)
        bound.settimeout(10)
        yield bound, name if request.param == "path" else "@" + name


@pytest.fixture
def short_path(tmp_path_factory):
    return tmp_path_factory.mktemp("n")


def test_systemd_hears_each_word_as_one_datagram(listener):
    bound, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, **WATCHED})

    manager.ready()
    manager.alive()
    manager.stopping()

    assert [bound.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_a_manager_that_does_not_listen_or_does_not_read_holds_nothing_up(listener):
    _, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, **WATCHED})
    began_s = time.monotonic()
    for _ in range(2000):  # far more than a socket keeps
        manager.alive()
    assert time.monotonic() - began_s < 30  # one that waits for room never ends

    for nobody in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}):
        absent = ServiceManager(nobody)
        absent.ready()
        absent.alive()
        absent.stopping()


@pytest.mark.parametrize(
    ("env", "expected_ms"),
    [
        pytest.param({}, POLL_MS_MAX, id="no-watchdog"),
        pytest.param(WATCHED, 2000, id="a-third"),
        pytest.param({"WATCHDOG_USEC": "6000000"}, POLL_MS_MAX, id="for-nobody"),
        pytest.param({"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}, POLL_MS_MAX, id="another"),
        pytest.param({**WATCHED, "WATCHDOG_USEC": "soon"}, POLL_MS_MAX, id="no-number"),
    ],
)
def test_the_watchdog_hears_three_times_in_its_time(env, expected_ms):
    assert ServiceManager(env).alive_ms == expected_ms


def test_the_daemon_of_another_service_says_nothing_in_its_name(listener):
    bound, address = listener
    manager = ServiceManager({"NOTIFY_SOCKET": address, "SYSTEMD_EXEC_PID": "1", **WATCHED})
    bound.setblocking(False)

    manager.ready()
    manager.alive()
    manager.stopping()

    with pytest.raises(BlockingIOError):
        bound.recv(100)


def test_an_error_that_nobody_foresaw_does_not_end_like_a_refusal(monkeypatch, tmp_path, caplog):
    """1 says "refused", and a service that ends with it is not started again."""

    def raise_bug(_home):
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "prepare_home", raise_bug)
    before = os.umask(0o077)
    try:
        assert loop.serve(Home(tmp_path), Settings()) == loop.EXIT_BUG == 70
    finally:
        os.umask(before)
    assert "ZeroDivisionError" in caplog.text
