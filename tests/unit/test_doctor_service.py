"""What doctor says of the units that `luludb service install` writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from luludb.admin.doctor import service, units
from luludb.admin.doctor.situation import Serving, look_at
from luludb.admin.service.program import program_of
from luludb.admin.service.systemd import SystemdService
from luludb.home import Home
from tests.unit.status import FIGURES


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a strange name, and the unit that `install` would write for it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    home = Home(tmp_path / "50% ñ $home")
    home.path.mkdir()
    for path, text in SystemdService(program_of(home)).texts(with_socket=False).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    return home


def examined(home, monkeypatch, state, *, is_serving=False):
    """The findings of the check, where systemd says `state`."""
    monkeypatch.setattr(units, "_shown", lambda *names: [state for _ in names])
    situation = look_at(home, timeout_s=0.1)
    if is_serving:
        situation = replace(situation, answer=Serving(FIGURES))
    return list(service.check_service(situation))


def test_a_unit_as_install_writes_it_is_well(home, monkeypatch):
    (found,) = examined(home, monkeypatch, {"ActiveState": "active", "UnitFileState": "enabled"})

    assert (found.level, found.remedy) == ("ok", None)


def test_a_unit_that_stands_still_beside_a_daemon_is_a_warning(home, monkeypatch):
    state = {"ActiveState": "inactive", "UnitFileState": "enabled"}

    (alone,) = examined(home, monkeypatch, state)
    (beside,) = examined(home, monkeypatch, state, is_serving=True)

    assert alone.level == "ok"
    assert (beside.level, "luludb service start" in beside.remedy) == ("warning", True)


def test_a_daemon_of_a_service_is_started_anew_within_it(home, monkeypatch):
    monkeypatch.setattr(units, "_shown", lambda *names: [{"MainPID": "77"} for _ in names])
    situation = look_at(home, timeout_s=0.1)

    assert replace(situation, lock_pids=(77,)).restart.startswith("luludb service restart ")
    assert replace(situation, lock_pids=(78,)).restart.startswith("luludb restart ")
