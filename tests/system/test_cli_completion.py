"""Completion in the shells themselves: commands, options, and the ids of sessions."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from luludb_client import Client
from tests.system.command_line import DEADLINE_S
from tests.system.terminal import Terminal, tmux

BIN = str(Path(sys.executable).parent)
PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"
SHELLS = [
    pytest.param(
        shell,
        marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed"),
    )
    for shell in ("bash", "zsh", "fish")
]
SET_UP = {
    "bash": 'eval "$(_LULUDB_COMPLETE=bash_source luludb)"',
    "zsh": 'autoload -U compinit; compinit -D; eval "$(_LULUDB_COMPLETE=zsh_source luludb)"',
    "fish": "_LULUDB_COMPLETE=fish_source luludb | source",
}
WITHOUT_SETTINGS = {
    "bash": ("bash", "--norc", "--noprofile"),
    "zsh": ("zsh", "-f"),
    "fish": ("fish", "--no-config"),
}


@pytest.fixture
def home(luludb_daemon):
    """A home with three sessions, one of whose ids a shell would take apart."""
    with Client(luludb_daemon.home) as client:
        client.create_session("mend the parser", "/", id="one-1")
        client.create_session("a name\nof two lines", "/", id="two-2")
        client.create_session("n", "/", id="two 2; echo")
    return luludb_daemon.home


def offered(home, words, *, shell="fish"):
    """What luludb tells a shell that asks for the end of `words`, one entry a line."""
    line = words.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "luludb"],
        env={
            **os.environ,
            "LULUDB_HOME": str(home),
            "_LULUDB_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": line[-1] if shell == "fish" else str(len(line) - 1),
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    "words",
    [
        "luludb session show ",
        "luludb session update ",
        "luludb session delete ",
        "luludb session list --after ",
        "luludb message append ",
        "luludb message list ",
        "luludb tail --follow ",
        "luludb export --session ",
    ],
)
def test_ids_with_names_are_offered_where_a_session_is_named(home, words):
    assert offered(home, words) == [
        r"plain,two-2	a name\nof two lines",
        "plain,one-1	mend the parser",
    ]


def test_only_ids_that_begin_so_are_offered(home):
    assert offered(home, "luludb tail on", shell="bash") == ["plain,one-1"]


def test_the_home_of_the_line_is_looked_at(home, tmp_path):
    for words in (f"luludb --home {home} tail ", f"luludb tail --home {home} "):
        assert len(offered(tmp_path, words)) == 2


def test_nothing_is_offered_and_nothing_said_where_there_is_no_database(tmp_path):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "lulu.db").write_bytes(b"no database" * 1000)

    assert offered(tmp_path / "none", "luludb tail ") == []
    assert offered(tmp_path / "damaged", "luludb tail ") == []


@tmux
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_ids(home, short_directory, shell):
    env = {"PATH": PATH, "LULUDB_HOME": str(home), "HOME": str(short_directory)}

    with closing(Terminal(short_directory, *WITHOUT_SETTINGS[shell], **env)) as terminal:
        terminal.type(f"{SET_UP[shell]}; clear; echo rea''dy", "Enter")
        terminal.wait_for("ready")
        terminal.type("luludb sess", "Tab")
        terminal.wait_for("luludb session")
        terminal.type("sho", "Tab")
        terminal.wait_for("luludb session show")
        terminal.type("one", "Tab")
        terminal.wait_for("luludb session show one-1")
        terminal.type("--js", "Tab")
        terminal.wait_for("luludb session show one-1 --json")
        terminal.type("Enter")

        terminal.wait_for('"name": "mend the parser"')
