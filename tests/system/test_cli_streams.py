"""The command line's standard streams: full, closed, interrupted, and a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.system.command_line import DEADLINE_S, created, luludb, said


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


def test_output_that_cannot_be_written_ends_with_1_and_says_so(home):
    created(home, "s")

    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "luludb", "session", "list"],
            env={**os.environ, "LULUDB_HOME": str(home)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=DEADLINE_S,
            check=False,
        )

    assert result.returncode == 1
    assert "No space left on device" in said(result)
    assert b"Exception ignored" not in result.stderr


def test_a_closed_standard_output_is_no_crash(home):
    result = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m luludb ping >&-"],
        env={**os.environ, "LULUDB_HOME": str(home)},
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, b"")


def test_a_reader_that_leaves_ends_the_command_quietly(home):
    id = created(home, "s")
    luludb(home, "message", "append", id, "user", stdin=b"x" * 4_000_000)

    process = subprocess.Popen(
        [sys.executable, "-m", "luludb", "message", "list", id],
        env={**os.environ, "LULUDB_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdout.read(1)
        process.stdout.close()
        complaints = process.stderr.read()

    assert (process.returncode, complaints) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="platform: needs /proc")
def test_an_interrupt_ends_with_130_and_no_traceback(home):
    id = created(home, "s")
    process = subprocess.Popen(
        [sys.executable, "-m", "luludb", "message", "append", id, "user"],
        env={**os.environ, "LULUDB_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        _wait_until_it_reads_standard_input(process)
        process.send_signal(signal.SIGINT)
        # Python sees a signal that comes just before it blocks in a read only after that read.
        process.stdin.close()
        complaints = process.stderr.read()

    assert process.returncode == 130
    assert b"Traceback" not in complaints


def _wait_until_it_reads_standard_input(process):
    """Until it has read what was written and sleeps in its next read.

    A signal that comes between two reads is only seen after the second: Python looks for signals
    when a call returns, and this one would not.
    """
    process.stdin.write(b"read this")
    process.stdin.flush()
    unread = bytearray(4)
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if not int.from_bytes(unread, sys.byteorder) and state == "S":
            return
    pytest.fail("it does not read its standard input")


def test_on_a_terminal_of_80_columns_ids_are_whole_and_no_line_is_wider(home):
    id = created(home, "a name that is far too long for one line of the table " * 3)
    luludb(home, "message", "append", id, "user", "word " * 100)

    listings = (("session", "list"), ("session", "show", id), ("message", "list", id), ("tail", id))
    for args in listings:
        shown = _on_a_terminal(home, *args)

        assert id in shown or args[0] == "message"
        assert max(len(line) for line in shown.splitlines()) <= 80


def _on_a_terminal(home, *args):
    """What the command shows on a terminal, without its colours."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "luludb", *args],
        env={**os.environ, "LULUDB_HOME": str(home), "COLUMNS": "80", "TERM": "xterm-256color"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    with process:
        while select.select([leader], [], [], DEADLINE_S)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux says EIO when the last writer has closed its side
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "")
