"""scripts/stress.py and scripts/demo against a real daemon, with small loads."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.load.crowd import ROOT, Pace
from scripts.load.stress import report_of
from scripts.load.verify import Verdict


def run_stress(*arguments: str) -> dict[str, Any]:
    """The report of a run, which has to end well and on its own."""
    command = [sys.executable, str(ROOT / "scripts" / "stress.py"), "--json", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout)
    assert f"seed {report['seed']}" in ended.stderr
    return dict(report)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="blocking"),
        pytest.param(("--window", "32"), id="pipelined"),
        pytest.param(("--message-bytes", "0"), id="empty-messages"),
        pytest.param(("--message-bytes", "100000", "--durability", "full"), id="large-and-full"),
    ],
)
def test_stress_writes_and_verifies_every_message(arguments: tuple[str, ...]) -> None:
    report = run_stress("--processes", "4", "--messages", "60", *arguments)

    assert report["ok"] is True
    assert report["messages"] == 4 * 60
    assert report["errors"] == {}


@pytest.mark.parametrize("window", ["1", "64"])
def test_a_daemon_killed_all_along_costs_nothing_but_time(window: str) -> None:
    report = run_stress("--processes", "4", "--seconds", "4", "--window", window, "--kill")

    assert report["ok"] is True
    assert report["kills"] >= 2
    assert report["messages"] > 100


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"lost": 1}, id="lost"),
        pytest.param({"changed": 1}, id="changed"),
        pytest.param({"doubled": 1}, id="doubled"),
        pytest.param({"out_of_order": 1}, id="out-of-order"),
        pytest.param({"unexpected": 1}, id="unexpected"),
        pytest.param({"unfinished_writers": 1}, id="unfinished"),
        pytest.param({"damage": ["row 1 missing from index"]}, id="damaged"),
        pytest.param({"errors": Counter(outcome_unknown=1)}, id="a-call-failed"),
    ],
)
def test_a_report_of_anything_wrong_is_not_ok(wrong: dict[str, Any]) -> None:
    arguments = argparse.Namespace(seed=1, processes=1, durability="normal", window=1)
    pace = Pace(
        messages=10,
        seconds=1.0,
        messages_per_s=10.0,
        p50_ms=1.0,
        p99_ms=1.0,
        max_ms=1.0,
        calls_over_100_ms=0,
    )

    assert report_of(arguments, pace, Verdict(messages=10), 0)["ok"]
    assert not report_of(arguments, pace, Verdict(messages=10, **wrong), 0)["ok"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--processes", "0"), id="no-process"),
        pytest.param(("--window", "257"), id="window-too-wide"),
        pytest.param(("--seconds", "nan"), id="not-a-time"),
        pytest.param(("--seconds", "1", "--messages", "1"), id="both-bounds"),
    ],
)
def test_stress_refuses_what_it_cannot_do(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "stress.py"), *arguments]

    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def run_demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # A home of the caller's own must not be touched.
    env = {**os.environ, "LULUDB_HOME": "/nowhere", "LULUDB_DURABILITY": "full", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "scripts.load.demo", *arguments],
        check=False,
        cwd=ROOT,
        env={**env, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_demo_compares_both_sides_and_fits_80_columns() -> None:
    ended = run_demo("--processes", "4", "--seconds", "1")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    cells = {
        parts[1].strip(): [part.strip() for part in parts[2:4]]
        for parts in (line.split("│") for line in lines)
        if len(parts) == 5
    }
    assert cells["messages"][0] != "0"
    for name in ("lock errors", "other errors", "lost", "doubled", "out of order"):
        assert cells[name][0] == "0"
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in ended.stdout
    assert "luludb serve" in ended.stdout


def test_demo_writes_the_conversations_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a file.jsonl"
    file.write_text(
        '{"type": "session", "id": "s1", "name": "n", "working_dir": "/w"}\n'
        '{"type": "message", "id": "m1", "session_id": "s1", "role": "user", "content": "x"}\n'
    )

    ended = run_demo("--processes", "2", "--seconds", "1", file)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "a file.jsonl" in ended.stdout


@pytest.mark.parametrize("text", [None, "", "{}\n"])
def test_demo_refuses_a_file_that_it_cannot_use(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "a.jsonl"
    if text is not None:
        file.write_text(text)

    ended = run_demo(file)

    assert ended.returncode == 2
    assert "a.jsonl" in ended.stdout
    assert "Traceback" not in ended.stderr
