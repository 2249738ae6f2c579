"""What a new user meets: a home that is none, nothing there yet, a directory not made yet."""

import os
import subprocess
import sys

import pytest

from luludb_client import Client
from tests.system.command_line import DEADLINE_S, luludb
from tests.system.terminal import Terminal, tmux

NOT_CONTENT = "a\x9b31m\u202eb"


@pytest.fixture
def terminal(short_directory):
    terminal = Terminal(short_directory)
    yield terminal
    terminal.close()


def shown(terminal, home, *args):
    """The screen after `luludb ARGS` ran on it."""
    typed = " ".join((f"'{sys.executable}' -m luludb --home '{home}'", *args))
    # What is typed must not look like its own end, wherever the line is broken.
    terminal.type(f"clear; {typed}; echo en''ded $?", "Enter")
    return terminal.wait_for("ended ")


@pytest.mark.parametrize(
    "args",
    [
        ("start",),
        ("stop",),
        ("ping",),
        ("config",),
        ("session", "list"),
        ("export",),
        ("tail", "--follow"),
    ],
    ids=" ".join,
)
def test_a_home_that_is_a_file_is_refused_and_not_taken_for_an_empty_one(tmp_path, args):
    file = tmp_path / "lulu.db"
    file.touch()

    ended = luludb(file, *args)

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode() == (
        f"luludb: home {file} is no directory; name another one with --home or LULUDB_HOME\n"
    )


def test_alone_it_names_doctor_for_a_home_that_is_a_file(tmp_path):
    file = tmp_path / "lulu.db"
    file.touch()

    text = luludb(file).stdout.decode()

    assert f"not known: home {file} is no directory" in text
    assert "luludb doctor" in text


def test_an_empty_working_directory_is_refused_and_not_taken_for_this_one(luludb_daemon):
    ended = luludb(luludb_daemon.home, "session", "create", "s", "--working-dir", "")

    assert ended.returncode == 1
    assert b"working_dir has 0 characters; allowed are 1 to 4096" in ended.stderr


def test_export_names_the_directory_that_is_not_there(luludb_daemon, tmp_path):
    missing = tmp_path / "not here"

    ended = luludb(luludb_daemon.home, "export", str(missing / "out.jsonl"))

    said = f"luludb: there is no directory {missing}; make it first: mkdir -p '{missing}'\n"
    assert (ended.returncode, ended.stderr.decode()) == (1, said)


def test_tail_that_waits_for_a_database_says_so(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "luludb", "tail", "--follow"],
        env={**os.environ, "LULUDB_HOME": str(tmp_path / "home")},
        stderr=subprocess.PIPE,
    ) as process:
        try:
            said = process.stderr.readline().decode()
        finally:
            process.kill()
            process.wait(DEADLINE_S)

    assert said.startswith("luludb: there is no database yet")
    assert said.endswith("; waiting for it\n")


@tmux
def test_a_command_that_waits_for_a_daemon_says_so_on_a_terminal(luludb_daemon, terminal):
    told = "waiting up to 1 s for one"
    create = ("session", "create", "s", "--timeout", "1")
    luludb_daemon.kill()  # what it leaves behind looks like one that serves

    screen = shown(terminal, luludb_daemon.home, *create)
    quiet = luludb(luludb_daemon.home, *create)
    luludb_daemon.start()
    served = shown(terminal, luludb_daemon.home, *create)

    assert told in screen.replace("\n", "")
    assert "ended 3" in screen
    assert b"waiting" not in quiet.stderr
    assert "waiting" not in served
    assert "ended 0" in served


@tmux
def test_top_once_cuts_a_long_name_off_at_the_edge_of_a_terminal(luludb_daemon, terminal):
    program = (
        "import sys; from luludb_client import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    client.create_session('n' * 4096, '/', id='long')\n"
        "    while True: client.append_message('long', 'user', 'x')\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, luludb_daemon.home]) as writer:
        try:
            with Client(luludb_daemon.home) as client:
                next(client.watch("long", after_rev=0))
            screen = shown(terminal, luludb_daemon.home, "top", "--once")
        finally:
            writer.kill()

    (line,) = (line for line in screen.splitlines() if "  long  nnn" in line)
    assert line.endswith("n…")
    assert len(line) == 80


@tmux
def test_a_list_of_no_sessions_says_so(luludb_daemon, terminal):
    assert "\nno session\n" in "\n" + shown(terminal, luludb_daemon.home, "session", "list")
    screen = shown(terminal, luludb_daemon.home, "session", "list", "--status", "done")
    assert "\nno session fits\n" in "\n" + screen


@tmux
@pytest.mark.parametrize("command", ["session show a --json", "export"])
def test_json_on_a_terminal_does_not_act_on_it(luludb_daemon, terminal, command):
    luludb(luludb_daemon.home, "session", "create", NOT_CONTENT, "--id", "a")

    screen = shown(terminal, luludb_daemon.home, command)

    assert r"a\u009b31m\u202eb" in screen.replace("\n", "")
