"""The command line in a process of its own, as its users run it."""

import os
import subprocess
import sys

DEADLINE_S = 60


def luludb(home, *args, stdin=b"", env=None):
    """Run `luludb ARGS` on `home` to its end; what it printed is bytes."""
    return subprocess.run(
        [sys.executable, "-m", "luludb", *map(os.fsencode, args)],
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, "LULUDB_HOME": str(home), **(env or {})},
    )


def created(home, *args):
    """Create a session and return its id."""
    return luludb(home, "session", "create", *args).stdout.decode().strip()


def said(result):
    """The one line on standard error, which says what went wrong and is no traceback."""
    lines = result.stderr.decode().splitlines()
    assert lines[0].startswith("luludb: "), result.stderr
    assert "Traceback" not in result.stderr.decode()
    return lines[0]
