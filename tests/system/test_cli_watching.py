"""`luludb` alone, `luludb status` and `luludb top` against a real daemon."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from luludb.admin.meanings import MEANINGS, figure_names
from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.conftest import ROOT
from tests.system.command_line import DEADLINE_S, luludb
from tests.system.terminal import Terminal, tmux


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


# Status.


def test_the_figures_of_a_daemon_are_those_that_are_documented(home):
    figures = json.loads(luludb(home, "status", "--json").stdout)

    documented = [name for meaning in MEANINGS for name in figure_names(meaning)]
    assert sorted(figures) == sorted(documented)


def test_metrics_of_a_daemon_are_read_by_prometheus(home):
    luludb(home, "session", "create", "one")

    result = luludb(home, "status", "--metrics")

    found = {f.name: f for f in text_string_to_metric_families(result.stdout.decode())}
    assert found["luludb_commands"].samples[0].value == 1
    assert found["luludb_daemon"].samples[0].labels["home"] == str(home)
    assert result.returncode == 0


def test_without_a_daemon_there_are_no_metrics(tmp_path):
    result = luludb(tmp_path, "status", "--metrics")

    assert (result.returncode, result.stdout) == (3, b"")


def test_json_and_metrics_do_not_go_together(home):
    assert luludb(home, "status", "--metrics", "--json").returncode == 2


# Luludb alone.


def face(home, *args):
    """Its five lines by their labels; it always ends with 0 and says nothing else."""
    result = luludb(home, *args)
    assert (result.returncode, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 5
    return dict(line.split(maxsplit=1) for line in lines)


def test_alone_it_says_that_there_is_nothing_yet(tmp_path):
    found = face(tmp_path / "nothing here")

    assert "no daemon runs" in found["luludb"]
    assert "no database yet" in found["sessions"]
    assert found["next"] == "luludb start"
    assert not (tmp_path / "nothing here").exists()


def test_alone_it_says_what_to_do_with_an_empty_database(home):
    found = face(home)

    assert "has been running for" in found["luludb"]
    assert found["sessions"].startswith("0,")
    assert found["next"] == "luludb session create NAME"


def test_alone_it_says_how_many_there_are_and_what_changed_last(luludb_daemon):
    home = luludb_daemon.home
    with Client(home) as client:
        client.create_session("first", "/", status="running")
        session = client.create_session("mend the\nparser", "/")
        client.append_message(session.id, "user", "x")

    found = face(home)

    assert found["sessions"] == "2, 1 of them running"
    assert found["messages"].startswith("1; last change ")
    assert found["messages"].endswith(r" in mend the\nparser")
    assert found["next"] == "luludb tail --follow   luludb top"
    luludb_daemon.kill()
    found = face(home)
    assert found["luludb"].endswith(f"no daemon answers; the last one was pid {luludb_daemon.pid}")
    assert found["sessions"] == "2, 1 of them running"
    assert found["next"].startswith("luludb start")


def test_alone_it_names_the_home_that_it_was_given(tmp_path, home):
    given = tmp_path / "a b"

    assert face(home, "--home", given)["next"] == f"luludb start --home '{given}'"


def test_alone_it_does_not_fail_of_a_file_that_is_no_database(tmp_path):
    (tmp_path / "lulu.db").write_bytes(b"no database" * 1000)

    found = face(tmp_path)

    assert found["sessions"].startswith("not known: ")


def test_alone_it_does_not_fail_of_a_file_that_another_program_made(tmp_path):
    with closing(sqlite3.connect(tmp_path / "lulu.db")) as connection:
        connection.execute("CREATE TABLE sessions (id TEXT)")

    found = face(tmp_path)

    assert found["sessions"].startswith("not known: ")
    assert found["next"] == "luludb start   luludb doctor"


# Top.


def test_top_once_shows_who_is_the_busiest_and_what_was_written_to(home):
    ready = os.pipe()
    program = (
        "import os, sys; from luludb_client import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    client.create_session('busy one', '/', id='busy')\n"
        "    os.write(int(sys.argv[2]), b'x')\n"
        "    while True: client.append_message('busy', 'user', 'x')\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(home), str(ready[1])], pass_fds=(ready[1],)
    )
    try:
        os.read(ready[0], 1)
        found = json.loads(luludb(home, "top", "--json").stdout)
        lines = luludb(home, "top").stdout.decode().splitlines()
    finally:
        writer.kill()
        writer.wait()
        for descriptor in ready:
            os.close(descriptor)

    assert found["per_s"]["commands_total"] > 0
    (session,) = found["sessions"]
    (client,) = found["clients"]
    assert (session["id"], session["name"], client["name"]) == ("busy", "busy one", "busy one")
    assert session["per_s"] > 0
    assert client["per_s"] == pytest.approx(session["per_s"], rel=0.05)
    assert any(line.strip().endswith("busy  busy one") for line in lines)


def test_top_once_ends_with_3_where_there_is_no_daemon(tmp_path):
    result = luludb(tmp_path, "top", "--once")

    assert (result.returncode, result.stdout) == (3, b"")
    assert result.stderr.startswith(b"luludb: no daemon serves")


@pytest.fixture
def terminal(short_directory):
    terminal = Terminal(short_directory)
    yield terminal
    terminal.close()


@tmux
def test_top_goes_on_across_a_restart_and_every_size_and_restores_the_terminal(
    luludb_daemon, terminal
):
    python = sys.executable
    terminal.type(f"'{python}' -m luludb top --home '{luludb_daemon.home}'; echo ended $?", "Enter")
    terminal.wait_for("commands/s", f"pid {luludb_daemon.pid},", "q or Ctrl-C ends")

    luludb_daemon.kill()
    terminal.wait_for("no daemon answers")
    luludb_daemon.start()
    terminal.wait_for("commands/s", f"pid {luludb_daemon.pid},")
    terminal.resize(30, 5)
    terminal.wait_for("commands/s", "…")
    terminal.resize(80, 24)
    terminal.wait_for("BUSIEST CLIENTS")
    terminal.type("q")

    assert "commands/s" not in terminal.wait_for("ended 0")
    terminal.type("stty -a | grep -o ' icanon\\| echo ' | wc -l; echo counted", "Enter")
    assert "\n2\n" in terminal.wait_for("\ncounted")


@tmux
def test_names_of_emoji_do_not_push_the_title_of_top_off_the_screen(luludb_daemon, terminal):
    name = "👍🏽🇩🇪❤️" * 20  # whose width rich and tmux do not agree on
    with Client(luludb_daemon.home) as client:
        terminal.type(f"'{sys.executable}' -m luludb top --home '{luludb_daemon.home}'", "Enter")
        terminal.wait_for("commands/s", f"pid {luludb_daemon.pid},")
        for _ in range(10):
            session = client.create_session(name, "/")
            client.append_message(session.id, "user", "")

        screen = terminal.wait_for("BUSIEST SESSIONS", "👍", "q or Ctrl-C ends")

    assert f"pid {luludb_daemon.pid}," in screen


@tmux
def test_an_interrupt_ends_top_with_130_and_no_traceback(terminal, tmp_path):
    terminal.type(f"'{sys.executable}' -m luludb top --home '{tmp_path}'; echo ended $?", "Enter")
    terminal.wait_for("no daemon answers")

    terminal.type("C-c")

    assert "Traceback" not in terminal.wait_for("ended 130")


@tmux
def test_status_fits_a_terminal_of_80_columns(terminal):
    with running_daemon() as daemon:
        terminal.type(f"clear; '{sys.executable}' -m luludb status --home '{daemon.home}'", "Enter")

        screen = terminal.wait_for("daemon ", "database_id")

    assert "p50       p99       max" in screen


def test_what_the_page_on_watching_shows_runs_as_it_stands(home, tmp_path):
    page = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    endless = "luludb tail --follow"
    assert len(blocks) == 3
    assert endless in blocks[0]

    done = subprocess.run(
        ["bash", "-euc", "".join(blocks).replace(endless, "luludb tail")],
        cwd=tmp_path,
        env={
            **os.environ,
            "LULUDB_HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "luludb.prom").read_text().endswith("# EOF\n")
