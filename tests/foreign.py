"""Another program on `lulu.db`: the standard library's sqlite3 in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

DEADLINE_S = 30
PROGRAM = """
import sqlite3, sys

uri, *statements = sys.argv[1:]
connection = sqlite3.connect(uri, uri=True, isolation_level=None)
for statement in statements:
    connection.execute(statement).fetchall()
print("holds", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
connection.close()
"""
SCRIPT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.executescript(sys.argv[2])
connection.close()
"""


@contextlib.contextmanager
def reading(home: Path) -> Iterator[int]:
    """A program that began to read and does not end. Yields its pid; at the end it is gone."""
    with _holding(home, "ro", "BEGIN", "SELECT count(*) FROM messages") as pid:
        yield pid


@contextlib.contextmanager
def holding_the_write_lock(home: Path) -> Iterator[int]:
    """A program that began to write and does not end. Yields its pid; at the end it is gone."""
    with _holding(home, "rw", "BEGIN IMMEDIATE") as pid:
        yield pid


@contextlib.contextmanager
def _holding(home: Path, mode: str, *statements: str) -> Iterator[int]:
    uri = f"file:{quote(str(home / 'lulu.db'))}?mode={mode}"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, uri, *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"holds\n"
            yield program.pid
            program.communicate(timeout=DEADLINE_S)
        finally:
            program.kill()


def foreign(home: Path, script: str, *, name: str = "lulu.db") -> None:
    """Run SQL on `lulu.db` in a process of its own, as another program would."""
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", SCRIPT, str(home / name), script], check=True)
