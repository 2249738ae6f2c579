"""What the doctor says of a home, and what its remedies do."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from luludb.admin.doctor import examine
from luludb.home import Home
from luludb.limits import CLIENT_TIMEOUT_S
from tests.system.command_line import DEADLINE_S


def said(home, *, check=None, timeout_s=CLIENT_TIMEOUT_S):
    return examine(
        Home(home), check=check, timeout_s=timeout_s, show=lambda _verb, _done, _total: None
    )


def findings(home, **options):
    return [each for each in said(home, **options) if each.level.is_finding]


def one(home, check, level="problem", **options):
    """What the check of that name says, of that level; there is one such."""
    found = said(home, **options)
    (wanted,) = [each for each in found if (each.check, each.level) == (check, level)]
    return wanted


def run(remedy):
    """Type the remedy."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", remedy],
        env={**os.environ, "PATH": path},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done


def write(home, *statements):
    """Another program changes the database."""
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
