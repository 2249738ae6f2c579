"""`luludb serve` as a command: its refusals, its end, and the lines of its log."""

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.system.command_line import luludb, said


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


def test_serve_refuses_a_home_that_is_served(home):
    result = luludb(home, "serve")

    assert result.returncode == 1
    assert b"a daemon already serves" in result.stderr
    assert b"Traceback" not in result.stderr


def test_serve_refuses_a_setting_that_is_not_allowed(tmp_path):
    result = luludb(tmp_path, "serve", env={"LULUDB_DURABILITY": "some"})

    assert result.returncode == 1
    assert "LULUDB_DURABILITY" in said(result)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_with_0_and_logs_one_line_an_event(tmp_path, number):
    home = tmp_path / "two\nlines"
    process = subprocess.Popen(
        [sys.executable, "-m", "luludb", "serve", "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        first = process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()

    assert process.returncode == 0
    for line in (first + rest).decode().splitlines():
        event = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert (event["level"], event["pid"]) == ("info", process.pid)
