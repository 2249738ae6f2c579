"""What README.md shows, run as it stands: the shell commands, and the Python example."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from luludb_client import Client
from luludb_client.testing import Daemon
from tests.conftest import ROOT

DEADLINE_S = 120


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def environment(**more: str) -> dict[str, str]:
    """One in which `luludb` and `python` are those that run this test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def make_todays_file(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL,
            status TEXT NOT NULL DEFAULT 'created', working_dir TEXT NOT NULL,
            created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
            CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL,
            role TEXT NOT NULL, content TEXT NOT NULL, timestamp TEXT NOT NULL,
            FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE);
            INSERT INTO sessions VALUES ('old', 'n', 'done', '/w', '2026-01-02T03:04:05Z',
            '2026-01-02T03:04:05Z');
            INSERT INTO messages VALUES ('m', 'old', 'user', 'x', '2026-01-02T03:04:05Z');"""
        )


def test_every_command_that_uses_luludb_runs_in_the_order_shown(tmp_path: Path) -> None:
    make_todays_file(tmp_path / "old" / "lulu.db")
    shown = [block for block in blocks("sh") if "luludb " in block or "sqlite3 " in block]
    script = "set -eu\n" + "".join(shown) + "kill %1\nwait %1\n"

    done = subprocess.run(
        ["bash", "-m", "-c", script],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(shown) >= 3
    assert (tmp_path / "lulu" / "lulu.db").is_file()
    assert (tmp_path / "sessions.jsonl.gz").is_file()


def run_python(example: str, home: Path) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=environment(LULUDB_HOME=str(home)),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_python_examples_do_what_they_say(luludb_daemon: Daemon) -> None:
    blocking, asynchronous = blocks("python")

    printed = run_python(blocking, luludb_daemon.home)

    assert printed[:2] == ["user IndexError since yesterday", "assistant The list is empty."]
    with Client(luludb_daemon.home) as client:
        (session,) = client.list_sessions(status="completed")
        assert len(list(client.list_messages(session.id))) == 1002

    printed = run_python(asynchronous, luludb_daemon.home)

    assert printed[:10] == [f"tool line {n}" for n in range(990, 1000)]
    assert printed[10].startswith("Change(rev=1, op='session.create'")
