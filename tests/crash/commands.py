"""A command of `luludb` with one system call that fails, or in which it is killed, by strace."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink", "mkdir", "rmdir")
"""Those by which a command changes files; Python's own start makes none of them."""
DEADLINE_S = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; the code is negative where a signal ended it."""

    exit_code: int
    said: str
    calls: Counter[str]


def run_traced(home: Path, *args: object, inject: str | None = None) -> Ended:
    """Run `luludb ARGS` to its end.

    Args:
        home: of the command.
        args: its arguments.
        inject: what strace does to it, such as `fsync:signal=KILL:when=2`.
    """
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as trace:
        options = ["-f", "-qq", "-o", trace.name, "-e", f"trace={','.join(CALLS)}"]
        if inject is not None:
            options += ["-e", f"inject={inject}"]
        command = [sys.executable, "-m", "luludb", *map(str, args), "--home", str(home)]
        done = subprocess.run(
            ["strace", *options, "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        lines = trace.readlines()
    calls = Counter(call for line in lines for call in CALLS if f" {call}(" in line)
    return Ended(done.returncode, done.stdout + done.stderr, calls)


def moments(calls: Counter[str], each_max: int) -> Iterator[tuple[str, int]]:
    """Each call and its number, from 1; or `each_max` of each, from the first to the last."""
    for call, count in calls.items():
        shown = min(each_max, count)
        for index in range(shown):
            yield call, 1 + index * (count - 1) // max(1, shown - 1)
