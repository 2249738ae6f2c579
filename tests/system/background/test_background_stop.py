"""`luludb stop` and `restart`: the process is gone, and writers only wait."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luludb.admin import background
from luludb.home import Home, locked
from luludb.platform import process_started
from luludb_client import Client
from scripts.load.journal import read_journal
from scripts.load.verify import verify
from tests.crash.outages import Observer, new_seed, write_while
from tests.serving import serving
from tests.system.background.daemons import DEADLINE_S, ended, started, wait_until

SHORT = ("--timeout", "0.5")


WRITERS = 8


RESTARTS = 2

needs_locks = pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="platform: nothing lists the locks"
)


# Stop.


def test_the_daemon_is_gone_when_stop_returns(home):
    pid = started(home)["pid"]

    code, shown, said = ended(home, "stop")

    assert (code, shown, said) == (0, f"stopped pid {pid}, which served {home}\n", "")
    assert process_started(pid) is None
    assert os.listdir(home / "run") == []
    with locked(Home(home)):
        pass


def test_stop_waits_for_the_end_of_the_process_and_not_of_the_answers_alone(home):
    pid = started(home)["pid"]

    # In this process, since another one's end would take as long as the daemon's.
    assert background.stop(Home(home), timeout_s=DEADLINE_S) == pid

    assert process_started(pid) is None


def test_stop_without_a_daemon_says_so_and_ends_with_0(home):
    assert ended(home, "stop") == (0, f"no daemon serves {home}\n", "")
    assert json.loads(ended(home, "stop", "--json")[1]) == {
        "home": str(home),
        "stopped": False,
        "pid": None,
    }
    assert not home.exists()


def test_stop_ends_a_daemon_in_the_foreground_too(fresh_home):
    with serving(fresh_home) as server:
        stopping = threading.Thread(target=server.wait_for_exit)
        stopping.start()  # it is our child, and only we can take note of its end

        assert ended(fresh_home, "stop")[0] == 0
        stopping.join(DEADLINE_S)
        assert server.process.returncode == 0


def test_stop_leaves_a_process_alone_that_has_the_pid_of_a_killed_daemon(home):
    killed = started(home)["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: process_started(killed) is None)
    found = json.loads((home / "run" / "daemon.json").read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        left = {**found, "pid": other.pid}
        (home / "run" / "daemon.json").write_text(json.dumps(left))

        code, shown, _ = ended(home, "stop")

        assert (code, shown) == (0, f"no daemon serves {home}\n")
        assert other.poll() is None
        other.communicate(b"\n", DEADLINE_S)
        assert other.returncode == 0


def test_a_daemon_that_does_not_answer_is_left_alone_and_what_to_do_is_said(home):
    pid = started(home)["pid"]
    os.kill(pid, signal.SIGSTOP)

    for command in ("stop", "start", "restart"):
        code, shown, said = ended(home, command, *SHORT)
        assert (code, shown) == (3, "")
        assert f"kill -9 {pid}" in said

    os.kill(pid, signal.SIGCONT)
    with Client(home) as client:
        client.ping()


@needs_locks
def test_a_daemon_whose_socket_was_taken_away_is_there_and_what_to_do_is_said(home):
    pid = started(home)["pid"]
    (home / "run" / "command.sock").unlink()

    code, shown, said = ended(home, "stop", *SHORT)

    assert (code, shown) == (3, "")
    assert f"kill {pid}" in said
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: process_started(pid) is None)


@needs_locks
def test_stop_waits_for_one_that_stops_already(home):
    pid = started(home)["pid"]
    (home / "run" / "command.sock").unlink()
    os.kill(pid, signal.SIGTERM)

    background.stop(Home(home), timeout_s=DEADLINE_S)

    with locked(Home(home)):
        pass


# Restart.


def test_restart_gives_another_daemon_whether_one_ran_or_not(home):
    first = json.loads(ended(home, "restart", "--json")[1])
    second = json.loads(ended(home, "restart", "--json")[1])

    assert (first["stopped_pid"], second["stopped_pid"]) == (None, first["pid"])
    assert first["boot_id"] != second["boot_id"]
    assert [first["was_running"], second["was_running"]] == [False, False]


def test_a_restart_under_writers_costs_them_nothing_but_time(home, tmp_path):
    seed = new_seed()
    print(f"seed {seed}")
    started(home)
    stalls_ms = []

    with Observer(home, tmp_path / "observer") as observer:

        def is_going_on():
            began_s = time.monotonic()
            code, _, said = ended(home, "restart", "--timeout", str(DEADLINE_S))
            assert code == 0, said
            answered_s = observer.wait_for_acknowledgement(began_s)
            stalls_ms.append(round((answered_s - began_s) * 1000))
            return len(stalls_ms) < RESTARTS

        journals = write_while(home, is_going_on, seed=seed, round_s=3.0, processes=WRITERS)
    assert ended(home, "stop")[0] == 0
    verdict = verify(home / "lulu.db", [*journals, read_journal(tmp_path / "observer")])

    print(f"first new acknowledgement after {stalls_ms} ms; {verdict}")
    assert len(stalls_ms) >= RESTARTS
    assert verdict.is_good, verdict
