"""Takes guards out of a copy of the program, one at a time, and runs the test of each there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.guards import GUARDS, Guard

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("luludb", "clients", "scripts", "tests", "pyproject.toml")
TEST_S_MAX = 240
GREEN, RED = 0, 1  # pytest's exit codes; the others say that no test ran as it should


class GuardError(RuntimeError):
    """Is raised where a guard cannot be taken out, or its test says nothing."""


def take_out_each(guards: Sequence[Guard] = GUARDS) -> Iterator[tuple[Guard, bool]]:
    """Take each guard out of a copy of the program. Yields whether its test turned red.

    Raises:
        GuardError: its text is not there once, or its test is not green as long as it is there.
    """
    with tempfile.TemporaryDirectory(prefix="lulu-guards-") as name:
        copy = Path(name)
        for part in COPIED:
            if (ROOT / part).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(ROOT / part, copy / part, ignore=ignored)
            else:
                shutil.copy(ROOT / part, copy / part)
        for guard in guards:
            yield guard, _turns_red(copy, guard)


def _turns_red(copy: Path, guard: Guard) -> bool:
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.text) != 1:
        raise GuardError(
            f"{guard.name}: its text is {whole.count(guard.text)} times in {guard.file}"
        )
    if _run(copy, guard.test) != GREEN:
        raise GuardError(f"{guard.name}: {guard.test} is not green with the guard in its place")
    path.write_text(whole.replace(guard.text, guard.replacement), encoding="utf-8")
    try:
        code = _run(copy, guard.test)
    finally:
        path.write_text(whole, encoding="utf-8")
    if code not in (GREEN, RED):
        raise GuardError(f"{guard.name}: pytest ended with {code} for {guard.test}")
    return code == RED


def _run(copy: Path, test: str) -> int:
    path = os.pathsep.join((str(copy), str(copy / "clients" / "python")))
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    try:
        return subprocess.run(
            command,
            check=False,
            cwd=copy,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            timeout=TEST_S_MAX,
        ).returncode
    except subprocess.TimeoutExpired:
        return RED  # one that waits for ever has noticed
