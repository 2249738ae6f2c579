"""Ctrl-C: at any moment a clean end with 130, and nothing left on the screen."""

import json
import subprocess
import sys

import pytest

from tests.system.command_line import DEADLINE_S
from tests.system.terminal import Terminal, tmux

_INTERRUPTED_WHILE_IT_IMPORTS = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "luludb.cli.sessions":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
sys.argv[:] = ["luludb", "ping"]
from luludb.cli import main
main()
"""


@pytest.fixture
def terminal(short_directory):
    terminal = Terminal(short_directory)
    yield terminal
    terminal.close()


def test_an_interrupt_while_the_program_is_loaded_ends_with_130_and_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_WHILE_IT_IMPORTS],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


@tmux
def test_an_interrupt_wipes_the_progress_off_a_terminal_of_80_columns(
    luludb_daemon, terminal, tmp_path
):
    rows = [
        {
            "type": "session",
            "id": f"{number}",
            "name": "s",
            "status": "created",
            "working_dir": "/",
            "created_at": "2026-01-01T00:00:00.000000+00:00",
            "updated_at": "2026-01-01T00:00:00.000000+00:00",
        }
        for number in range(200)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = f"'{sys.executable}' -m luludb import - --home '{luludb_daemon.home}'"
    # A pipe that stays open, so that the import goes on until it is interrupted.
    terminal.type(f"clear; (cat '{file}'; sleep {DEADLINE_S}) | {command}; echo ended $?", "Enter")
    assert "importing" in terminal.wait_for("━", " rows ")

    terminal.type("C-c")

    screen = terminal.wait_for("ended 130", "the import ended behind line")
    assert "━" not in screen
    assert "Traceback" not in screen
