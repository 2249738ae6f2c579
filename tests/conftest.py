"""Fixtures that all tests share, and the rule for which reasons a test may be skipped."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PERMITTED_SKIPS = ("platform:", "privilege:", "data:")
"""How the reason of a skip begins that is not a failure even where every tool is installed."""
STRICT = bool(os.environ.get("LULUDB_NO_SKIPS"))
TEST_DATA = os.environ.get("LULUDB_TEST_DATA")

# What the caller has set for a daemon of his own has no part in the tests.
for _name in [name for name in os.environ if name.startswith("LULUDB_")]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """The folder of real conversations: `LULUDB_TEST_DATA`, else `../shared/data`."""
    directory = Path(TEST_DATA) if TEST_DATA else ROOT.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"data: no folder {directory}; LULUDB_TEST_DATA names another")
    return directory


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a failure of a skip that is not permitted."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that is skipped whole."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not STRICT or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(PERMITTED_SKIPS):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped because of {reason!r}; where every tool is installed, the only reasons"
            f" allowed begin with {', '.join(PERMITTED_SKIPS)}"
        )
