"""What the doctor says of the daemon and its service, and that the remedies help."""

import contextlib
import json
import os
import pty
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.serving import serving
from tests.system.command_line import DEADLINE_S
from tests.system.doctor.sayings import findings, one, run

HOLDING_THE_LOCK = """
import fcntl, os, sys

descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holds", flush=True)
sys.stdin.readline()
"""


OF_ANOTHER_VERSION = """
import sys
import luludb
luludb.__version__ = "0.0.1"
from luludb.cli import main
main()
"""


def test_a_stopped_daemon_is_told_with_how_to_start_it(stopped):
    assert [each.check for each in findings(stopped)] == ["daemon"]
    assert one(stopped, "daemon", "warning").remedy == f"luludb start --home {stopped}"


def test_a_daemon_that_was_killed_is_told_from_one_that_was_stopped(daemon):
    daemon.kill()

    found = one(daemon.home, "daemon", "warning")

    assert "killed" in found.found
    assert found.remedy == f"luludb start --home {daemon.home}"


def test_a_daemon_that_stands_still_is_told_and_goes_on_by_the_remedy(daemon):
    os.kill(daemon.pid, signal.SIGSTOP)

    found = one(daemon.home, "daemon", timeout_s=0.3)
    run(found.remedy)

    assert found.remedy == f"kill -CONT {daemon.pid}"
    assert findings(daemon.home) == []


def test_a_daemon_whose_socket_was_removed_is_told_and_serves_again_by_the_remedy(daemon):
    (daemon.home / "run" / "command.sock").unlink()

    found = one(daemon.home, "daemon")

    run(found.remedy)
    left = findings(daemon.home)
    run(f"luludb stop --home {daemon.home}")

    assert f"pid {daemon.pid}" in found.found
    assert found.remedy == f"kill {daemon.pid} && luludb start --home {daemon.home}"
    assert left == []


def test_a_copy_of_a_home_that_names_the_daemon_of_the_other_is_told(daemon, on_a_disk):
    copy = on_a_disk / "copy"
    shutil.copytree(daemon.home, copy, ignore=shutil.ignore_patterns("*.sock"))

    found = one(copy, "daemon")

    assert str(daemon.home) in found.found
    assert found.remedy.startswith(f"rm {copy / 'run' / 'daemon.json'} && luludb start")


def test_a_lock_file_that_was_removed_is_told(daemon):
    (daemon.home / "lulu.lock").unlink()

    assert one(daemon.home, "lock").remedy == f"luludb restart --home {daemon.home}"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_process_that_holds_the_lock_and_does_not_serve_is_told(stopped):
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDING_THE_LOCK, str(stopped / "lulu.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        program.stdout.readline()
        found = one(stopped, "daemon", "warning")
        program.kill()

    assert found.remedy == f"kill {program.pid}"


def test_a_daemon_of_another_version_than_is_installed_is_told(stopped):
    program = subprocess.Popen(
        [sys.executable, "-c", OF_ANOTHER_VERSION, "serve", "--home", str(stopped)],
        stderr=subprocess.PIPE,
    )
    with program:
        try:
            while b" serves " not in program.stderr.readline():
                assert program.poll() is None
            found = one(stopped, "version", "warning")
        finally:
            program.terminate()
            program.stderr.read()

    assert "0.0.1" in found.found
    assert found.remedy == f"luludb restart --home {stopped}"


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="platform: no /proc")
def test_a_daemon_that_runs_out_of_open_files_is_told(stopped):
    with serving(stopped) as server:
        has = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (has + 3, has + 3))

        found = one(stopped, "open files")

    assert found.remedy == f"ulimit -n 65536; luludb restart --home {stopped}"


def test_a_failure_of_storage_is_told_with_what_it_was(stopped):
    (stopped / "storage-failed").write_text("2026-01-01 a checkpoint failed: disk I/O error\n")

    found = one(stopped, "storage")

    assert "disk I/O error" in found.found
    assert found.remedy == f"luludb start --home {stopped}"


def test_a_service_whose_program_is_gone_is_told(stopped, monkeypatch):
    units = stopped.parent / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "luludb-0123abcd.service").write_text(
        f'[Service]\nExecStart=/gone/luludb serve --home "{stopped}"\n'
    )
    (units / "luludb.service").write_text("[Service]\nExecStart=/gone/luludb serve\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(units.parent.parent))

    found = one(stopped, "service")

    assert "luludb-0123abcd.service" in found.found
    assert found.remedy == f"luludb service install --home {stopped}"


@pytest.fixture
def mute(stopped):
    """A home whose daemon listens and never answers."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(stopped / "run" / "command.sock"))
        listener.listen()
        endpoints = dict.fromkeys(("command", "changes"), f"ipc://{stopped}/run/command.sock")
        found = {"pid": os.getpid(), "boot_id": "b", "version": "0", "protocol": 1, **endpoints}
        (stopped / "run" / "daemon.json").write_text(json.dumps(found))
        yield stopped


def test_a_daemon_that_is_stuck_is_told_with_how_to_end_it(mute):
    found = one(mute, "daemon", timeout_s=0.2)

    assert "gave no answer" in found.found
    assert found.remedy == f"kill -9 {os.getpid()} && luludb start --home {mute}"


def test_a_doctor_that_waits_for_an_answer_ends_with_130_at_ctrl_c(mute):
    mine, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "luludb", "doctor", "--home", str(mute)],
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    with asking:
        shown = b""
        while b"asking the daemon" not in shown:
            assert select.select([mine], [], [], DEADLINE_S)[0]
            shown += os.read(mine, 4096)
        asking.send_signal(signal.SIGINT)
        # What it still writes to the terminal is read, or it could not end.
        rest: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(mine, rest))
        reader.start()
        code = asking.wait(DEADLINE_S)
        reader.join(DEADLINE_S)
    os.close(mine)

    assert code == 130
    assert b"Traceback" not in shown + b"".join(rest)


def _read_all(descriptor, chunks):
    with contextlib.suppress(OSError):  # the other end of a terminal is gone
        while chunk := os.read(descriptor, 4096):
            chunks.append(chunk)
