"""What the doctor says of a launch agent, with a stand-in for `launchctl` or with none."""

import os
import sys

import pytest

from luludb.admin.doctor.agents import check_agent
from luludb.admin.doctor.situation import look_at
from luludb.admin.service.agent import agent_file, launch_agent
from luludb.admin.service.program import Program, program_of
from luludb.home import Home

# The lines of the real one's that matter, with those of what it prints inside, which do not.
LOADED = """gui/501/luludb = {{
\tactive count = 1
\tpath = /Users/me/Library/LaunchAgents/luludb.plist
\tstate = {state}

\tendpoints = {{
\t\t"other" = {{
\t\t\tstate = active
\t\t}}
\t}}
\truns = 7
\tlast exit code = {last_exit}
}}
"""
DISABLED = """
\tdisabled services = {{
\t\t"com.example.other" => disabled
\t\t"{label}" => {word}
\t}}
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The program of a home whose agent is written down, without a launchctl on the PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    program = program_of(Home(tmp_path / "a home ü"))
    path = agent_file(program, tmp_path / "me")
    path.parent.mkdir(parents=True)
    path.write_text(launch_agent(program, tmp_path / "me"), encoding="utf-8")
    return program


def launchctl(tmp_path, *, shown=None, disabled=""):
    """A `launchctl` that prints this; it knows no agent where nothing is to be shown."""
    (tmp_path / "shown").write_text(shown or "", encoding="utf-8")
    (tmp_path / "disabled").write_text(disabled, encoding="utf-8")
    script = tmp_path / "bin" / "launchctl"
    script.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        f'"print-disabled gui/{os.getuid()}") exec /bin/cat "{tmp_path}/disabled" ;;\n'
        f'"print gui/{os.getuid()}/"*) {"exit 113" if shown is None else ""}\n'
        f'    exec /bin/cat "{tmp_path}/shown" ;;\n'
        "esac\n"
        "exit 64\n"
    )
    script.chmod(0o755)


def said(home):
    return list(check_agent(look_at(home, timeout_s=0.1, env={})))


def one(program):
    (found,) = said(program.home)
    return str(found.level), found.found, found.remedy


def command(program, *words):
    return f"luludb service {' '.join(words)} --home '{program.home.path}'"


def test_without_a_launchctl_the_file_alone_is_looked_at(program):
    level, found, remedy = one(program)

    assert (level, remedy) == ("ok", None)
    assert f"{program.name}.plist" in found


def test_a_program_that_is_gone_is_told_without_a_launchctl(program, tmp_path):
    path = agent_file(program, tmp_path / "me")
    gone = Program(name=program.name, home=program.home, python="/gone/python")
    path.write_text(launch_agent(gone, tmp_path / "me"), encoding="utf-8")

    level, found, remedy = one(program)

    assert (level, remedy) == ("problem", command(program, "install"))
    assert "/gone/python" in found


@pytest.mark.parametrize("text", ["", "<plist>", "no list"], ids=["empty", "cut", "text"])
def test_a_file_that_launchd_does_not_read_is_told(program, tmp_path, text):
    agent_file(program, tmp_path / "me").write_text(text)

    level, found, remedy = one(program)

    assert (level, remedy) == ("problem", command(program, "install"))
    assert "no property list" in found


@pytest.mark.parametrize("last_exit", ["0", "(never exited)", "1"])
def test_an_agent_that_runs_is_fine_however_it_ended_before(program, tmp_path, last_exit):
    launchctl(tmp_path, shown=LOADED.format(state="running", last_exit=last_exit))

    assert one(program) == ("ok", f"{program.name}: running", None)


@pytest.mark.parametrize("last_exit", ["1", "78: EX_CONFIG"])
def test_a_daemon_that_fails_again_and_again_is_told(program, tmp_path, last_exit):
    launchctl(tmp_path, shown=LOADED.format(state="spawn scheduled", last_exit=last_exit))

    level, found, remedy = one(program)

    assert (level, remedy) == ("problem", command(program, "logs"))
    assert f"ended with {last_exit.partition(':')[0]}," in found


def test_one_that_was_stopped_is_no_finding(program, tmp_path):
    launchctl(tmp_path, shown=LOADED.format(state="not running", last_exit="0"))
    assert one(program) == ("ok", f"{program.name}: not running", None)

    launchctl(tmp_path)
    level, found, _ = one(program)
    assert (level, "has not loaded it" in found) == ("ok", True)


@pytest.mark.parametrize(
    ("word", "level"),
    [("disabled", "warning"), ("true", "warning"), ("enabled", "ok"), ("false", "ok")],
)
def test_an_agent_that_is_disabled_is_told(program, tmp_path, word, level):
    launchctl(tmp_path, disabled=DISABLED.format(label=program.name, word=word))

    found, _, remedy = one(program)

    assert found == level
    assert remedy == (command(program, "install") if level == "warning" else None)


def test_the_agent_of_another_home_is_not_looked_at(program, tmp_path):
    assert said(Home(tmp_path / "other")) == []
    assert sys.executable == program.python
