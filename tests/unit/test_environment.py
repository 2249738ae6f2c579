"""The set-up of the scripts, as far as it goes without installing anything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import environment


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose `.venv` seems to be installed for `run`, and works."""
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(environment, "PLACE", venv / "made-for")
    monkeypatch.setattr(environment, "runs", bool)
    environment.PLACE.write_bytes(os.fsencode(venv))
    environment.stamp_of("run").touch()
    return tmp_path


def test_an_installed_environment_is_ready(repository: Path) -> None:
    assert environment.ensure("run") == repository / ".venv" / "bin" / "python"


def test_what_test_needs_is_more_than_what_run_needs(repository: Path) -> None:
    assert not environment.is_ready("test")
    environment.stamp_of("test").touch()
    environment.stamp_of("run").unlink()
    assert environment.is_ready("test")
    assert environment.is_ready("run")


def test_each_purpose_brings_what_run_needs(repository: Path) -> None:
    environment.stamp_of("run").unlink()
    environment.stamp_of("bench").touch()

    assert environment.is_ready("run")
    assert environment.is_ready("bench")
    assert not environment.is_ready("test")


def test_what_was_installed_for_another_purpose_stays(repository: Path) -> None:
    environment.stamp_of("bench").touch()

    assert environment.outdated_stamps() == []


def test_what_was_installed_by_another_pyproject_goes(repository: Path) -> None:
    before = environment.stamp_of("run")
    (repository / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert environment.outdated_stamps() == [before]


def test_nothing_that_was_installed_counts_where_nothing_runs(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "runs", lambda _statement: False)

    assert environment.outdated_stamps() == [environment.stamp_of("run")]


def test_a_changed_pyproject_is_installed_anew(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert not environment.is_ready("run")


def test_a_moved_environment_is_made_anew(repository: Path) -> None:
    environment.PLACE.write_text("/elsewhere/.venv")

    assert not environment.is_ready("run")


def test_an_environment_that_does_not_run_is_not_ready(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "runs", lambda _statement: False)

    assert not environment.is_ready("run")


def test_a_python_without_ensurepip_is_told_the_command_that_mends_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "runs", lambda _statement: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/apt-get")

    with pytest.raises(SystemExit) as ended:
        environment.ensure("run")

    assert ended.value.code == 1
    assert "apt-get install python3-venv" in capsys.readouterr().err


def test_a_python_too_old_is_told_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr("shutil.which", lambda _name: None)

    with pytest.raises(SystemExit) as ended:
        environment.require_version()

    assert ended.value.code == 1
    assert "Python 3.9; luludb needs 3.11 or newer" in capsys.readouterr().err


def test_variables_meant_for_another_python_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")

    own = environment.own_environment()

    assert "PYTHONPATH" not in own
    assert "PIP_TARGET" not in own
    assert own["PIP_USER"] == "0"
    assert own["PATH"] == os.environ["PATH"]


def test_two_at_once_take_turns() -> None:
    """A second process waits for the lock and says so, and goes on when it is free."""
    with hold_lock() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        with hold_lock() as second:
            assert second.stderr is not None
            assert second.stdout is not None
            assert "waiting" in second.stderr.readline()
            first.communicate("\n", timeout=30)
            assert second.stdout.readline() == "mine\n"
            second.communicate("\n", timeout=30)
    assert (first.returncode, second.returncode) == (0, 0)


def hold_lock() -> subprocess.Popen[str]:
    program = (
        "from scripts import environment\n"
        "with environment.locked():\n    print('mine', flush=True)\n    input()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=environment.ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
