"""`luludb start`: when it returns, a daemon answers, or its reason is shown."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luludb.home import Home, locked, prepare_home, read_discovery
from luludb.platform import process_started
from luludb_client import Client
from tests import foreign
from tests.system.background.daemons import DEADLINE_S, ended, log_of, started, wait_until

AT_ONCE = 4


def is_there(pid):
    """Whether there is such a process, or one that has ended and whose parent does not know."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid):
    return dict(
        part.split(b"=", 1)
        for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if part
    )


def test_a_daemon_answers_when_start_returns_and_belongs_to_no_terminal(home):
    code, shown, said = ended(home, "start")

    pid = read_discovery(Home(home)).pid
    assert (code, said) == (0, "")
    assert shown == f"pid {pid} serves {home}; its log is {home / 'log' / 'daemon.log'}\n"
    with Client(home) as client:
        client.ping()
    assert os.getsid(pid) == pid
    if sys.platform == "linux":
        process = Path(f"/proc/{pid}")
        assert (process / "cwd").readlink() == Path("/")
        opened = [(process / "fd" / number).readlink() for number in "012"]
        assert opened == [Path("/dev/null"), *[home / "log" / "daemon.log"] * 2]


def test_start_beside_a_daemon_says_so_and_starts_none(home):
    pid = started(home)["pid"]

    code, shown, _ = ended(home, "start")
    again = started(home)

    assert (code, shown) == (0, f"pid {pid} serves {home} already\n")
    assert (again["pid"], again["was_running"]) == (pid, True)
    assert log_of(home).count('"event": "serving"') == 1


def test_of_several_starts_at_once_one_daemon_comes_and_each_succeeds(home):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda _: started(home), range(AT_ONCE)))

    assert len({each["boot_id"] for each in found}) == 1
    assert sorted(each["was_running"] for each in found) == [False, *[True] * (AT_ONCE - 1)]
    assert log_of(home).count('"event": "serving"') == 1


def test_start_waits_for_a_daemon_that_another_one_is_starting(home):
    prepare_home(Home(home))
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    lock = home / "lulu.lock"
    with ThreadPoolExecutor(2) as pool:
        with foreign.holding_the_write_lock(home):  # for which a daemon that starts waits
            first = pool.submit(started, home)
            wait_until(lambda: lock.exists() and lock.read_text().strip())
            second = pool.submit(started, home)
            wait_until(lambda: "home_locked" in log_of(home))
            told = [line for line in log_of(home).splitlines() if "home_locked" in line]
            refused = json.loads(told[0])["pid"]
            wait_until(lambda: not is_there(refused))  # the second one has seen that it ended
        found = [first.result(), second.result()]

    assert [each["was_running"] for each in found] == [False, True]
    assert len({each["pid"] for each in found}) == 1


def test_start_over_what_a_killed_daemon_left_behind(home):
    killed = started(home)["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: process_started(killed) is None)

    assert started(home)["was_running"] is False
    assert f"of pid {killed} was still here" in log_of(home)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        pytest.param(
            lambda home: (home / "luludb.toml").write_text("durability = 'some'"),
            "durability in ",
            id="a-setting",
        ),
        pytest.param(
            lambda home: (home / "lulu.db").write_text("no database " * 100),
            "is not a database that luludb can use",
            id="the-database",
        ),
        pytest.param(
            lambda home: (home / "log" / "daemon.log").mkdir(parents=True),
            "cannot be written",
            id="the-log",
        ),
    ],
)
def test_where_the_daemon_refuses_to_start_its_reason_is_shown(home, prepare, reason):
    home.mkdir(mode=0o700)
    prepare(home)
    for path in home.iterdir():
        path.chmod(path.stat().st_mode & 0o700)

    code, shown, said = ended(home, "start")

    assert (code, shown) == (1, "")
    assert reason in said
    assert said.count("\n") == 1


def test_start_is_refused_at_once_while_a_restore_has_the_home(home):
    prepare_home(Home(home))
    with locked(Home(home), holder="restore"):
        code, _, said = ended(home, "start", "--timeout", str(DEADLINE_S))

    assert code == 1
    assert f"pid {os.getpid()}" in said
    assert "luludb restore needs this home for itself" in said


def test_what_a_service_manager_told_its_service_does_not_reach_the_daemon(home):
    pid = started(home, env={"NOTIFY_SOCKET": "@none", "LISTEN_FDS": "2", "MINE": "1"})["pid"]

    assert {b"NOTIFY_SOCKET", b"LISTEN_FDS", b"MINE"} & set(environment_of(pid)) == {b"MINE"}


def test_start_that_is_interrupted_takes_its_daemon_along(home):
    prepare_home(Home(home))
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    lock = home / "lulu.lock"
    with foreign.holding_the_write_lock(home):
        command = [sys.executable, "-m", "luludb", "start", "--home", str(home)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: lock.exists() and lock.read_text().strip())
            pid = int(lock.read_text())
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 130
        assert process_started(pid) is None
