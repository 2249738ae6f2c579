"""The benchmark in its smallest form, and what keeps it from lying."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.bench import direct
from scripts.bench.bench import RowsWrong, check_rows
from scripts.bench.client import Assignment
from scripts.bench.crowd import Crowd, ended_at_last, gathered
from scripts.bench.machine import UnfitPlace, examine_place
from scripts.bench.notices import notice_step_us
from scripts.bench.processes import ROOT
from scripts.load.conversations import made_up_conversations
from scripts.load.crowd import deal

DEADLINE_S = 120


def run_bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "scripts.bench.main", *arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, "LULUDB_HOME": "/nowhere", "LULUDB_DURABILITY": "full"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_a_small_run_checks_its_rows_and_writes_figures_and_report(tmp_path: Path) -> None:
    if _lies_in_memory(Path("/var/tmp")):
        pytest.skip("platform: /var/tmp lies in memory")

    ended = run_bench(
        *("--short", "--only", "alone", "--pairs", "2", "--seconds", "0.3"),
        *("--without", "PostgreSQL,sqlite_rx", "--out", tmp_path),
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    (load,) = figures["loads"]
    assert {name: len(runs) for name, runs in load["runs"].items()} == {
        "luludb": 2,
        "echo": 2,
        "direct": 2,
    }
    assert all(run["rate_per_s"] > 0 for runs in load["runs"].values() for run in runs)
    assert sorted(load["kept"]) == ["direct", "luludb"]
    assert "each there once, unchanged and in order" in load["kept"]["luludb"]
    assert load["marks"].keys() == {"p50 luludb / (echo + direct)"}
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "### 1 process, blocking, normal" in report
    assert "PostgreSQL was not measured: it was left out" in report


def test_watchers_and_tasks_are_measured_and_their_rows_checked(tmp_path: Path) -> None:
    if _lies_in_memory(Path("/var/tmp")):
        pytest.skip("platform: /var/tmp lies in memory")

    ended = run_bench(
        *("--short", "--only", "watch,tasks", "--seconds", "0.3"),
        *("--without", "PostgreSQL,sqlite_rx", "--out", tmp_path),
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    watch, tasks = json.loads((tmp_path / "figures.json").read_text())["loads"]
    for name in ("Client.watch", "AsyncClient.watch"):
        for pace in ("a write every 5 ms", "writes without a pause"):
            (watched,) = watch["runs"][f"{name}, {pace}"]
            (written,) = watch["runs"][f"the writer of {name}, {pace}"]
            assert 0 < watched["calls"] <= written["calls"]
    for name in ("asyncio", "uvloop"):
        (run,) = tasks["runs"][f"1,000 tasks, {name}"]
        assert (run["calls"], run["errors"]) == (10_000, {})
        # 10 messages of each task, and as many again in the run whose callbacks are timed.
        assert tasks["kept"][f"1,000 tasks, {name}"].startswith("20,000 messages, each there once")
    longest_ms = {each["key"]: each["value"]["median"] for each in tasks["comparisons"]}
    assert longest_ms["callback 1,000 tasks, asyncio"] > 0
    assert "each there once, unchanged and in order" in watch["kept"]["luludb"]


def test_a_burner_is_told_what_to_take_and_answers_a_run() -> None:
    crowd = Crowd([("scripts.bench.burner", "")] * 2)
    with ended_at_last(crowd):
        assert crowd.ask("burn 0.1 50", "burn 0.2 50") == [None, None]
        shares = crowd.run(warm_s=0.0, seconds=0.1)

    assert [share.acknowledged for share in shares] == [0, 0]


def test_the_notices_step_of_a_turn_has_a_time(tmp_path: Path) -> None:
    # Without a subscriber it is below what a turn's work takes by two orders of magnitude; how far
    # is the benchmark's to say.
    assert abs(notice_step_us(tmp_path)) < 1000


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--only", "nothing"), id="unknown-load"),
        pytest.param(("--without", "luludb"), id="not-a-rival"),
        pytest.param(("--pairs", "0"), id="no-pair"),
        pytest.param(("--seconds", "nan"), id="not-a-time"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: tuple[str, ...]) -> None:
    ended = run_bench(*arguments)

    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_place_in_memory_is_refused() -> None:
    place = Path("/dev/shm")
    if not place.is_dir() or not _lies_in_memory(place):
        pytest.skip("platform: no /dev/shm")

    with pytest.raises(UnfitPlace, match="lies in memory"):
        examine_place(place)


@contextlib.contextmanager
def two_direct_clients(place: Path, *, mode: str, size: int):
    dealt = deal(made_up_conversations(1, 4), place, 2)
    assignments = [
        Assignment(
            system="direct",
            directory=str(place),
            durability="normal",
            mode=mode,
            size=size,
            conversations=str(path),
        )
        for path in dealt
    ]
    with direct.serving(place, "normal"), gathered(assignments) as crowd:
        yield crowd


def change(place: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(place / direct.DATABASE)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


LAST = "(SELECT max(rowid) FROM messages)"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        pytest.param(f"DELETE FROM messages WHERE rowid = {LAST}", "1 rows are lost", id="lost"),
        pytest.param(
            f"UPDATE messages SET content = 'x' WHERE rowid = {LAST}", "1 changed", id="changed"
        ),
        pytest.param(
            f"INSERT INTO messages SELECT 'x', session_id, role, content, timestamp FROM messages"
            f" WHERE rowid = {LAST}",
            "1 doubled",
            id="doubled",
        ),
        pytest.param(
            f"UPDATE messages SET rowid = -1 WHERE rowid = {LAST}", "out of order", id="moved"
        ),
    ],
)
def test_rows_that_are_not_as_acknowledged_end_the_benchmark(
    tmp_path: Path, statement: str, finding: str
) -> None:
    with two_direct_clients(tmp_path, mode="blocking", size=1) as crowd:
        crowd.run(warm_s=0.0, seconds=0.2)
        journals = crowd.journals()
    assert "in order" in check_rows(direct, tmp_path, journals)
    change(tmp_path, statement)

    with pytest.raises(RowsWrong, match=finding):
        check_rows(direct, tmp_path, journals)


def test_messages_in_transactions_are_counted_one_by_one(tmp_path: Path) -> None:
    with two_direct_clients(tmp_path, mode="together", size=10) as crowd:
        shares = crowd.run(warm_s=0.0, seconds=0.3)
        sent = sum(len(journal.messages) for journal in crowd.journals())

    calls = sum(len(share.latencies_ms) for share in shares)
    acknowledged = sum(share.acknowledged for share in shares)
    assert sent == calls * 10
    # A call under way at the end of the time is waited for, and not counted.
    assert sent - 2 * 10 <= acknowledged <= sent


def test_a_call_that_outlasts_the_run_counts_with_its_whole_latency(tmp_path: Path) -> None:
    with two_direct_clients(tmp_path, mode="blocking", size=1) as crowd:
        shares = run_against_a_lock(crowd, tmp_path, seconds=0.5)

    assert sum(share.acknowledged for share in shares) == 0
    assert [len(share.latencies_ms) for share in shares] == [1, 1]
    assert min(share.latencies_ms[0] for share in shares) > 400


def run_against_a_lock(crowd: Crowd, place: Path, *, seconds: float):
    """A run during which, and for as long again and more, somebody holds the write lock."""
    with contextlib.closing(
        sqlite3.connect(place / direct.DATABASE, isolation_level=None, check_same_thread=False)
    ) as holder:
        holder.execute("BEGIN IMMEDIATE")
        # The calls of a run begin within 0.65 s from here.
        release = threading.Timer(1.5, holder.execute, ["ROLLBACK"])
        release.start()
        try:
            return crowd.run(warm_s=0.0, seconds=seconds)
        finally:
            release.join()


def _lies_in_memory(place: Path) -> bool:
    try:
        examine_place(place)
    except UnfitPlace:
        return True
    return False
