"""The rule of conftest.py for skips, tried on a small suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parent.parent / "conftest.py"


def run_suite(directory: Path, text: str, *, strict: bool) -> subprocess.CompletedProcess[str]:
    shutil.copy(CONFTEST, directory / "conftest.py")
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "test_it.py").write_text(f"import pytest\n{text}")
    env = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **({"LULUDB_NO_SKIPS": "1"} if strict else {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        check=False,
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def test_a(): pytest.skip('no strace')", id="in-the-test"),
        pytest.param("@pytest.mark.skip(reason='tool')\ndef test_a(): pass", id="by-a-mark"),
        pytest.param(
            "pytest.importorskip('no_such_module')\ndef test_a(): pass", id="the-whole-module"
        ),
    ],
)
def test_a_skip_for_a_tool_fails_only_where_every_tool_is_installed(
    tmp_path: Path, text: str
) -> None:
    strict = run_suite(tmp_path, text, strict=True)
    lenient = run_suite(tmp_path, text, strict=False)

    assert strict.returncode not in (0, 5), strict.stdout
    assert "the only reasons allowed" in strict.stdout
    assert lenient.returncode in (0, 5), lenient.stdout


@pytest.mark.parametrize("reason", ["platform: macOS", "privilege: root", "data: absent"])
def test_permitted_skips_stay_skips(tmp_path: Path, reason: str) -> None:
    text = f"def test_a(): pytest.skip({reason!r})\ndef test_b(): pass"

    assert run_suite(tmp_path, text, strict=True).returncode == 0
