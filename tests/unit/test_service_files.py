"""What the files of a service say."""

import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luludb.admin.service.agent import launch_agent
from luludb.admin.service.program import program_of
from luludb.admin.service.unit import service_unit, socket_unit
from luludb.errors import LuludbError
from luludb.home import Home, find_home
from luludb.limits import POLL_MS_MAX, SOCKET_PATH_BYTES_MAX_LINUX

STRANGE = Home(Path('/a %u "b" \\c $HOME ü;x'))


def test_the_usual_home_has_the_plain_name_and_others_one_of_their_own(monkeypatch):
    usual = find_home(env={})
    monkeypatch.setenv("LULUDB_HOME", "/elsewhere")

    assert program_of(usual).name == "luludb"
    names = {program_of(Home(Path(path))).name for path in ("/elsewhere", "/other")}
    assert len(names) == 2
    assert all(re.fullmatch(r"luludb-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("path", ["/a\nb", "/a\x7f", os.fsdecode(b"/a\xff")])
def test_a_home_that_no_unit_can_name_is_refused(path):
    with pytest.raises(LuludbError, match="cannot stand in the file of a service"):
        program_of(Home(Path(path)))


def test_the_command_is_quoted_for_systemd():
    unit = service_unit(program_of(STRANGE), with_socket=False)

    assert r'"--home" "/a %%u \"b\" \\c $HOME ü;x" "serve"' in unit
    assert f'ExecStart=:"{sys.executable}" "-P" "-m" "luludb" ' in unit
    assert r'Description=luludb, the one writer of /a %%u "b" \c $HOME ü;x' in unit


def test_the_watchdog_waits_longer_than_the_loop_sleeps_and_a_refusal_is_final():
    unit = service_unit(program_of(STRANGE), with_socket=False).splitlines()

    assert "WatchdogSec=3min" in unit
    assert 3 * POLL_MS_MAX <= 180_000
    assert {"Type=notify", "Restart=on-failure", "RestartPreventExitStatus=1"} <= set(unit)
    assert not [line for line in unit if "Socket" in line or ".socket" in line]


def test_the_sockets_lie_in_the_home_and_are_its_owners():
    text = socket_unit(program_of(STRANGE))

    assert r'ListenStream=/a %%u "b" \c $HOME ü;x/run/command.sock' in text
    assert r'ListenStream=/a %%u "b" \c $HOME ü;x/run/changes.sock' in text
    assert {"SocketMode=0600", "DirectoryMode=0700"} <= set(text.splitlines())


def test_a_path_too_long_for_a_socket_is_refused_with_a_way_out():
    fits = "/" + "h" * (SOCKET_PATH_BYTES_MAX_LINUX - len("//run/command.sock"))
    socket_unit(program_of(Home(Path(fits))))

    with pytest.raises(LuludbError, match=r"has 108 bytes; a unix socket takes 107.*without"):
        socket_unit(program_of(Home(Path(fits + "h"))))


def test_the_agent_is_read_back_key_by_key():
    text = launch_agent(program_of(STRANGE), Path("/Users/me"))
    found = plistlib.loads(text.encode())

    log = found.pop("StandardErrorPath")
    assert log == found.pop("StandardOutPath")
    assert re.fullmatch(r"/Users/me/Library/Logs/luludb-[0-9a-f]{8}\.log", log)
    assert found.pop("Label") == Path(log).stem
    assert found == {
        "ProgramArguments": [
            *(sys.executable, "-P", "-m", "luludb"),
            *("--home", str(STRANGE.path), "serve"),
        ],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Interactive",
        "ExitTimeOut": 60,
        "Umask": 0o077,
        "SoftResourceLimits": {"NumberOfFiles": 10240},
        "EnvironmentVariables": {"PYTHONFAULTHANDLER": "1"},
    }


def test_the_agent_is_read_by_another_reader_of_property_lists(tmp_path):
    if shutil.which("plistutil") is None:
        pytest.skip("tool: no plistutil")
    text = launch_agent(program_of(STRANGE), Path("/Users/me"))
    (tmp_path / "agent.plist").write_text(text, encoding="utf-8")
    for source, target, form in (("agent.plist", "binary", "bin"), ("binary", "again", "xml")):
        subprocess.run(
            ["plistutil", "-i", tmp_path / source, "-o", tmp_path / target, "-f", form], check=True
        )

    assert plistlib.loads((tmp_path / "again").read_bytes()) == plistlib.loads(text.encode())
    assert (tmp_path / "binary").read_bytes().startswith(b"bplist00")
