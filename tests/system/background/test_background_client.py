"""Clients made with start=True: the first write starts a daemon."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from luludb_client import DaemonUnavailable
from tests.system.background.daemons import DEADLINE_S, log_of, started


def test_a_client_made_with_start_has_its_first_write_start_a_daemon(home, make_client):
    with make_client(home, start=True, timeout_s=DEADLINE_S) as client:
        with pytest.raises(DaemonUnavailable):
            client.ping()
        assert not home.exists()

        session = client.create_session("a", "/")

        client.append_message(session.id, "user", "hi")
        pid = client.status()["pid"]
    assert os.getsid(pid) == pid  # it goes on without us
    with make_client(home, start=True) as client:
        assert client.submit("session.delete", id=session.id).result(DEADLINE_S)["rev"] == 3
        assert client.status()["pid"] == pid


WRITE_ONE = """
import sys
from luludb_client import Client

with Client(sys.argv[1], start=True, timeout_s=30) as client:
    client.create_session("a", "/")
    print(client.status()["boot_id"])
"""


def test_of_several_clients_that_start_one_at_once_all_write_to_one_daemon(home, make_client):
    command = [sys.executable, "-c", WRITE_ONE, str(home)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with (
        make_client(home, start=True, timeout_s=DEADLINE_S) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        made = [pool.submit(client.create_session, "a", "/") for _ in range(2)]
        boot_ids = {process.communicate(timeout=DEADLINE_S)[0].strip() for process in processes}

        assert all(each.result(DEADLINE_S) for each in made)
        assert boot_ids == {client.status()["boot_id"]}
        assert len(client.list_sessions()) == 4
    assert log_of(home).count('"event": "serving"') == 1


def test_a_daemon_that_does_not_start_is_an_error_with_its_reason(home, make_client):
    home.mkdir()
    (home / "luludb.toml").write_text("color = 1")

    with make_client(home, start=True) as client:
        for _ in range(2):
            with pytest.raises(DaemonUnavailable, match=r"luludb.toml has color.*luludb start"):
                client.create_session("a", "/")


def test_no_call_waits_longer_for_a_start_than_its_timeout(home, make_client):
    pid = started(home)["pid"]
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()

    with (
        make_client(home, start=True, timeout_s=0.5) as client,
        pytest.raises(DaemonUnavailable, match=f"pid {pid}"),
    ):
        client.create_session("a", "/")

    assert 0.5 <= time.monotonic() - began_s < DEADLINE_S / 2
