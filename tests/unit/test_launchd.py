"""How the launch agent is worked, with a stand-in for `launchctl` that keeps what is loaded."""

import os
from pathlib import Path

import pytest

from luludb.admin.service.launchd import LaunchdService
from luludb.admin.service.program import program_of
from luludb.errors import LuludbError
from luludb.home import Home

# bootout returns while the daemon still ends, as the real one does: it is gone after the next look.
LAUNCHCTL = """#!/bin/sh
echo "$@" >>"$STATE/calls"
case "$1" in
print)
    [ -e "$STATE/loaded" ] || exit 113
    [ -e "$STATE/ending" ] && rm "$STATE/loaded" "$STATE/ending"
    printf 'gui/0/luludb = {\\n\\tstate = running\\n\\tpid = 4711\\n}\\n' ;;
bootstrap)
    [ -e "$STATE/loaded" ] && { echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }
    touch "$STATE/loaded" ;;
bootout) touch "$STATE/ending" ;;
esac
"""


class Launchctl:
    def __init__(self, state: Path) -> None:
        self.state = state

    def calls(self):
        """What was called since the last time, but for looks."""
        file = self.state / "calls"
        found = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [call.split()[0] for call in found if not call.startswith("print")]


@pytest.fixture
def launchctl(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "launchctl"
    script.write_text(LAUNCHCTL)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("STATE", str(tmp_path))
    return Launchctl(tmp_path)


@pytest.fixture
def service(launchctl, tmp_path):
    return LaunchdService(program_of(Home(tmp_path / "home")))


def test_install_loads_the_agent_once_and_again_only_with_another_text(service, launchctl):
    told = []
    service.install(with_socket=False, tell=told.append)
    assert launchctl.calls() == ["enable", "bootstrap"]
    assert service.file.exists()
    assert told[0] == f"wrote {service.file}"

    service.install(with_socket=False, tell=told.append)
    assert launchctl.calls() == ["enable", "kickstart"]

    service.file.write_text("old")
    service.install(with_socket=False, tell=told.append)
    assert launchctl.calls() == ["bootout", "enable", "bootstrap"]
    assert service.file.read_text() != "old"


def test_stop_and_restart_wait_until_the_daemon_is_gone(service, launchctl):
    service.install(with_socket=False, tell=lambda _: None)
    assert service.state().pid == 4711
    assert service.state().state == "running"
    launchctl.calls()

    service.restart()
    assert launchctl.calls() == ["bootout", "bootstrap"]
    service.stop()
    assert launchctl.calls() == ["bootout"]
    assert service.state().state == "not loaded"
    assert service.state().pid is None
    service.start()
    assert launchctl.calls() == ["bootstrap"]


def test_uninstall_leaves_no_file(service, launchctl, tmp_path):
    service.install(with_socket=False, tell=lambda _: None)
    Path(service.logs_command(lines=5, is_followed=False)[-1]).write_text("a line")

    service.uninstall(tell=lambda _: None)

    assert [path for path in (tmp_path / "me").rglob("*") if path.is_file()] == []
    assert not (tmp_path / "loaded").exists()
    told = []
    service.uninstall(tell=told.append)
    assert told == [f"{service.unit} was not installed"]


def test_what_is_not_installed_and_what_launchd_lacks_is_said(service):
    for call in (service.start, service.stop, service.restart):
        with pytest.raises(LuludbError, match="is not installed; luludb service install"):
            call()
    with pytest.raises(LuludbError, match="--socket goes with systemd alone"):
        service.install(with_socket=True, tell=lambda _: None)
    assert service.state().state == "not installed"
