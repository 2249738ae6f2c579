"""`luludb service` under a real `systemd --user`: started, watched, restarted, removed."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from luludb_client import Client
from tests.peer import discovery
from tests.serving import serving
from tests.system.manager import Manager, user_manager

DEADLINE_S = 30
SOCKET_RESTARTS = 5
WRITERS = 4


@pytest.fixture(scope="module")
def manager():
    with user_manager() as found:
        yield found


@pytest.fixture
def home(manager):
    """A home whose path has what units, shells and URIs treat in ways of their own."""
    with tempfile.TemporaryDirectory(prefix="lulu") as directory:
        path = Path(directory) / "h %u ü${HOME}"
        yield path
        manager.luludb(path, "service", "uninstall")


def unit_of(manager: Manager, home: Path) -> str:
    done = manager.luludb(home, "service", "status", "--json")
    return json.loads(done.stdout)["service"]


def wait_until(is_so, deadline_s: float = DEADLINE_S) -> None:
    until_s = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.02)


@contextlib.contextmanager
def watchdog_of(manager: Manager, home: Path, *, seconds: int):
    """The service with a short watchdog, by a file like those of `systemctl edit`."""
    drop_in = manager.units / f"{unit_of(manager, home)}.d" / "test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nWatchdogSec={seconds}\n")
    try:
        manager.run("systemctl", "--user", "daemon-reload")
        manager.service(home, "restart")
        yield
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()


class Writers:
    """Threads that append one message after the other, each with a client of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._is_over = False
        self._threads = [threading.Thread(target=self._write) for _ in range(WRITERS)]
        self.acknowledged: list[str] = []
        self.longest_s = 0.0
        self.errors: list[BaseException] = []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_):
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def wait_for_more(self) -> None:
        """Return when messages were acknowledged that nobody had begun before."""
        enough = len(self.acknowledged) + 2 * WRITERS
        wait_until(lambda: len(self.acknowledged) >= enough or self.errors)
        assert self.errors == []

    def _write(self) -> None:
        try:
            with Client(self._home, timeout_s=DEADLINE_S) as client:
                session = client.create_session("s", "/s")
                while not self._is_over:
                    began_s = time.monotonic()
                    message = client.append_message(session.id, "user", "x" * 200)
                    self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                    self.acknowledged.append(message.id)
        except BaseException as error:  # noqa: BLE001  # the test's own thread tells of it
            self.errors.append(error)


def message_ids(home: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM messages")]


def test_install_is_done_when_the_daemon_answers_and_can_be_repeated(manager, home):
    printed = manager.service(home, "install")
    with Client(home) as client:
        figures = client.status()
    again = manager.service(home, "install")
    unit = unit_of(manager, home)

    assert f"the daemon answers (pid {figures['pid']})" in printed
    assert figures["home"] == str(home)
    assert "loginctl enable-linger" in printed
    assert "wrote" in printed
    assert "wrote" not in again
    assert f"(pid {figures['pid']})" in again
    assert re.fullmatch(r"luludb-[0-9a-f]{8}\.service", unit)
    assert manager.show(unit, "ActiveState") == "active"
    assert (manager.units / "default.target.wants" / unit).exists()


@pytest.mark.parametrize("option", [[], ["--socket"]])
def test_systemd_has_no_complaint_about_the_units(manager, home, option):
    manager.service(home, "install", *option)

    files = [path for path in manager.units.iterdir() if path.is_file()]
    assert len(files) == 1 + len(option)
    for path in files:
        done = manager.run("systemd-analyze", "--user", "verify", "--man=no", str(path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_is_back_after_a_kill_and_no_writer_sees_an_error(manager, home):
    manager.service(home, "install")
    with Writers(home) as writers:
        before = discovery(home)
        os.kill(before["pid"], signal.SIGKILL)
        wait_until(lambda: discovery(home)["boot_id"] != before["boot_id"])
        writers.wait_for_more()
    state = json.loads(manager.service(home, "status", "--json"))

    print(f"longest write over a kill: {writers.longest_s:.3f} s")
    assert state["restarts"] == 1
    assert state["answering_pid"] == state["pid"] != before["pid"]
    assert set(writers.acknowledged) <= set(message_ids(home))


def test_a_daemon_that_stands_still_is_replaced_and_no_writer_sees_an_error(manager, home):
    manager.service(home, "install")
    unit = unit_of(manager, home)
    assert manager.show(unit, "WatchdogUSec") == "3min"
    with watchdog_of(manager, home, seconds=2), Writers(home) as writers:
        before = discovery(home)
        os.kill(before["pid"], signal.SIGSTOP)
        wait_until(lambda: discovery(home)["boot_id"] != before["boot_id"])
        writers.wait_for_more()

    print(f"longest write over a standstill: {writers.longest_s:.3f} s")
    assert int(manager.show(unit, "NRestarts")) >= 1
    assert set(writers.acknowledged) <= set(message_ids(home))
    assert "Fatal Python error: Aborted" in manager.log()  # where it stood


def test_an_idle_daemon_outlives_its_watchdog(manager, home):
    manager.service(home, "install")
    unit = unit_of(manager, home)
    with watchdog_of(manager, home, seconds=3):
        pid = discovery(home)["pid"]
        told: set[str] = set()
        # One a second, so this takes longer than three.
        wait_until(
            lambda: told.add(manager.show(unit, "WatchdogTimestampMonotonic")) or len(told) > 5
        )

        assert discovery(home)["pid"] == pid
        assert manager.show(unit, "NRestarts") == "0"


def stand_in(directory: Path, script: str) -> dict[str, str]:
    """The environment in which `journalctl`, which has no journal in there, is `script`."""
    (directory / "journalctl").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "journalctl").chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def test_a_refusal_to_start_is_told_and_not_tried_again(manager, home, tmp_path):
    manager.service(home, "install")
    unit = unit_of(manager, home)
    manager.service(home, "stop")
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        connection.execute("PRAGMA user_version = 999")

    done = manager.luludb(home, "service", "start")
    with_journal = manager.luludb(home, "service", "start", env=stand_in(tmp_path, "echo newer"))
    status = manager.luludb(home, "service", "status", "--json")

    assert done.returncode == 1
    assert "its daemon ended with 1" in done.stderr
    assert with_journal.stderr.endswith(".service did not start: newer\n")
    assert "Traceback" not in done.stderr
    assert status.returncode == 3
    assert json.loads(status.stdout)["state"] == "failed (failed), last result exit-code"
    # A unit that systemd would start again is "activating (auto-restart)" meanwhile.
    assert manager.show(unit, "NRestarts") == "0"
    assert re.search(r"^<3>.*999", manager.log(), re.MULTILINE)


def test_log_lines_have_priorities_and_no_time(manager, home):
    home.mkdir(parents=True)
    home.chmod(0o755)
    manager.service(home, "install")
    pid = discovery(home)["pid"]

    lines = manager.log().splitlines()
    assert any(re.match(rf"<4>{re.escape(str(home))} was open", line) for line in lines)
    assert any(re.match(rf"<6>luludb \S+ serves .*\(pid {pid}", line) for line in lines)


def test_logs_are_those_of_the_unit(manager, home, tmp_path):
    manager.service(home, "install")
    env = stand_in(tmp_path, 'echo "$@"')

    done = manager.luludb(home, "service", "logs", "-n", "7", "-f", env=env)

    unit = unit_of(manager, home)
    assert done.stdout == f"--user --unit={unit} --lines=7 --follow\n"


def test_uninstall_leaves_the_database_and_nothing_else(manager, home):
    manager.service(home, "install", "--socket")
    with Client(home) as client:
        session = client.create_session("s", "/s")
    printed = manager.service(home, "uninstall")

    assert [path for path in manager.user_home.rglob("*") if not path.is_dir()] == []
    assert (
        manager.run("systemctl", "--user", "list-units", "--all", "luludb*").stdout.count("luludb")
        == 0
    )
    assert list((home / "run").iterdir()) == []
    assert printed.count("removed") == 2
    with Client(home) as client:
        assert client.get_session(session.id) == session
    assert "was not installed" in manager.service(home, "uninstall")


def test_a_daemon_of_another_hand_is_named_and_left_in_peace(manager, home):
    with serving(home) as server:
        done = manager.luludb(home, "service", "install")

        assert done.returncode == 1
        assert str(server.pid) in done.stderr
        assert list(manager.units.glob("*.s*")) == []
        with Client(home) as client:
            assert client.status()["pid"] == server.pid


def test_sockets_of_systemd_outlive_restarts_and_no_writer_sees_an_error(manager, home):
    manager.service(home, "install", "--socket")
    inode = (home / "run" / "command.sock").stat().st_ino
    unit = unit_of(manager, home)
    pids = {discovery(home)["pid"]}
    with Writers(home) as writers:
        for _ in range(SOCKET_RESTARTS):
            manager.run("systemctl", "--user", "reset-failed", unit)
            manager.run("systemctl", "--user", "restart", unit)
            pids.add(discovery(home)["pid"])
            writers.wait_for_more()

    print(f"longest write over {SOCKET_RESTARTS} restarts: {writers.longest_s:.3f} s")
    assert writers.errors == []
    assert len(pids) == SOCKET_RESTARTS + 1
    assert (home / "run" / "command.sock").stat().st_ino == inode
    assert set(writers.acknowledged) <= set(message_ids(home))


def test_with_sockets_a_client_needs_no_daemon_and_a_stop_ends_both(manager, home):
    manager.service(home, "install", "--socket")
    unit = unit_of(manager, home)
    manager.run("systemctl", "--user", "stop", unit)
    assert manager.show(unit, "ActiveState") == "inactive"
    assert (home / "run" / "daemon.json").exists()
    with Client(home, timeout_s=DEADLINE_S) as client:
        client.create_session("s", "/s")
    assert manager.show(unit, "ActiveState") == "active"

    manager.service(home, "stop")
    status = manager.luludb(home, "service", "status")

    assert status.returncode == 3
    assert "inactive (dead)" in status.stdout
    assert not (home / "run" / "command.sock").exists()


def test_without_a_manager_every_command_says_so_and_ends_with_1(manager, home):
    for command in ("install", "uninstall", "start", "stop", "restart", "status", "logs"):
        done = manager.luludb(home, "service", command, env={"XDG_RUNTIME_DIR": "/nowhere"})
        assert done.returncode == 1, command
        assert "manager of this user does not answer" in done.stderr
        none = manager.luludb(home, "service", command, env={"PATH": "/nowhere"})
        assert none.returncode == 1, command
        assert "there is no systemctl on this machine" in none.stderr
    assert not home.exists()


# Sockets that are systemd's, and daemons that are not.


def said_by_the_doctor(manager: Manager, home: Path) -> dict:
    return json.loads(manager.luludb(home, "doctor", "--json").stdout)


def of_check(findings: list[dict], check: str) -> list[dict]:
    return [each for each in findings if each["check"] == check]


def without_a_daemon(manager: Manager, home: Path) -> str:
    """Install the service with sockets and stop its daemon alone. Returns the unit."""
    manager.service(home, "install", "--socket")
    unit = unit_of(manager, home)
    manager.run("systemctl", "--user", "stop", unit)
    return unit


def test_a_daemon_by_hand_is_refused_beside_sockets_of_systemd_and_they_stay(manager, home):
    unit = without_a_daemon(manager, home)
    sockets = [home / "run" / name for name in ("command.sock", "changes.sock")]
    inodes = [path.stat().st_ino for path in sockets]

    by_hand = manager.luludb(home, "serve")

    assert by_hand.returncode == 1
    assert "luludb service stop --home" in by_hand.stderr
    assert [path.stat().st_ino for path in sockets] == inodes
    assert manager.show(unit, "ActiveState") == "inactive"
    with Client(home, timeout_s=DEADLINE_S) as client:
        client.create_session("s", "/s")
        assert str(client.status()["pid"]) == manager.show(unit, "MainPID")
    manager.service(home, "stop")
    with serving(home) as server, Client(home) as client:
        assert client.status()["pid"] == server.pid


def test_the_doctor_starts_no_daemon_that_systemd_listens_for(manager, home):
    unit = without_a_daemon(manager, home)

    found = said_by_the_doctor(manager, home)

    assert manager.show(unit, "ActiveState") == "inactive"
    assert manager.show(unit, "NRestarts") == "0"
    (daemon,) = of_check(found["passed"], "daemon")
    assert "starts one with the next client" in daemon["found"]
    assert of_check(found["passed"], "service")[0]["found"] == f"{unit}: inactive"
    assert of_check(found["findings"], "service") == []
    with Client(home, timeout_s=DEADLINE_S) as client:
        client.create_session("s", "/s")
    assert "answers" in of_check(said_by_the_doctor(manager, home)["passed"], "daemon")[0]["found"]


def test_a_daemon_whose_sockets_systemd_took_is_told_and_the_remedy_brings_the_service(
    manager, home
):
    manager.service(home, "install", "--socket")
    unit = unit_of(manager, home)
    manager.service(home, "stop")
    with serving(home) as server:
        manager.run("systemctl", "--user", "start", unit.replace(".service", ".socket"))
        (told,) = of_check(said_by_the_doctor(manager, home)["findings"], "daemon")
        waiting = threading.Thread(target=server.wait_for_exit)
        waiting.start()  # it is our child, and only we can take note of its end
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = manager.run("bash", "-c", told["remedy"], env={"PATH": path})
        waiting.join(DEADLINE_S)

    assert told["level"] == "problem"
    assert f"pid {server.pid}" in told["found"]
    assert done.returncode == 0, done.stderr
    with Client(home, timeout_s=DEADLINE_S) as client:
        client.create_session("s", "/s")
        assert str(client.status()["pid"]) == manager.show(unit, "MainPID")
