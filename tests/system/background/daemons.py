"""What the tests of a daemon in the background ask of the command line and of the system."""

import json
import time

from tests.system.command_line import luludb

DEADLINE_S = 30


def started(home, **options):
    """Start a daemon and return what the command printed as JSON."""
    result = luludb(home, "start", "--json", "--timeout", str(DEADLINE_S), **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ended(home, *args, **options):
    """Exit code, standard output and standard error of a command."""
    result = luludb(home, *args, **options)
    assert b"Traceback" not in result.stderr
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def log_of(home):
    return (home / "log" / "daemon.log").read_text(encoding="utf-8")


def wait_until(is_so):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
