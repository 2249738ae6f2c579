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
