"""A backup that is killed, or meets a failing disk, leaves a whole file under its name or none."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from luludb_client import Client
from luludb_client.testing import Daemon, running_daemon
from tests.crash.commands import moments, run_traced
from tests.crash.outages import new_seed
from tests.databases import damage, meta_of
from tests.system.command_line import luludb

KILLS = 10
EACH_MAX = 3
OLDER = b"an older backup"

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="tool: strace is not installed"
)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon to which a thread writes all along."""
    is_over = threading.Event()

    def write() -> None:
        with Client(daemon.home) as client:
            session = client.create_session("n", "/w")
            while not is_over.is_set():
                client.append_message(session.id, "user", "x" * 3000)
                is_over.wait(0.005)  # or the database outgrows the test

    with running_daemon() as daemon:
        with Client(daemon.home) as client, client.transaction() as together:
            together.create_session("n", "/w", id="s")
            for number in range(300):
                together.append_message("s", "user", "x" * 1000, id=f"m{number}")
        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield daemon
        finally:
            is_over.set()
            writer.join()


def check_place(place: Path) -> None:
    """Under the name is what was there, or a whole backup."""
    if place.read_bytes() != OLDER:
        assert damage(place) == []
        assert meta_of(place)["last_rev"] >= 301


def test_a_backup_killed_at_random_moments_never_leaves_half_a_file(
    daemon: Daemon, tmp_path: Path
) -> None:
    seed = new_seed()
    print(f"seed {seed}")
    chance = random.Random(seed)
    place = tmp_path / "b.db"
    calls = run_traced(daemon.home, "backup", place).calls
    assert calls["rename"] == 1
    chosen: Counter[str] = Counter()
    for _ in range(KILLS):
        place.write_bytes(OLDER)
        (call,) = chance.choices(list(calls), list(calls.values()))
        chosen[call] += 1
        inject = f"{call}:signal=KILL:when={chance.randint(1, calls[call])}"

        ended = run_traced(daemon.home, "backup", place, inject=inject)

        assert ended.exit_code == -signal.SIGKILL, ended
        check_place(place)

    print(chosen)
    assert luludb(daemon.home, "backup", str(place)).returncode == 0
    assert os.listdir(tmp_path) == ["b.db"]
    assert damage(place) == []


def test_a_kill_inside_each_kind_of_call_leaves_a_whole_file(
    daemon: Daemon, tmp_path: Path
) -> None:
    place = tmp_path / "b.db"
    calls = run_traced(daemon.home, "backup", place).calls
    for call, number in moments(calls, EACH_MAX):
        place.write_bytes(OLDER)

        run_traced(daemon.home, "backup", place, inject=f"{call}:signal=KILL:when={number}")

        check_place(place)
    assert luludb(daemon.home, "backup", str(place)).returncode == 0
    assert os.listdir(tmp_path) == ["b.db"]


@pytest.mark.parametrize(("error", "code"), [("EIO", 4), ("ENOSPC", 1)])
def test_a_failing_disk_is_told_and_leaves_what_was_there(
    daemon: Daemon, tmp_path: Path, error: str, code: int
) -> None:
    place = tmp_path / "b.db"
    calls = run_traced(daemon.home, "backup", place).calls
    told: Counter[int] = Counter()
    for call, number in moments(calls, EACH_MAX):
        if call not in ("pwrite64", "fsync", "rename"):
            continue
        place.write_bytes(OLDER)

        ended = run_traced(
            daemon.home, "backup", place, inject=f"{call}:error={error}:when={number}"
        )

        assert "Traceback" not in ended.said, ended
        assert ended.exit_code in (code, 4), (call, number, ended)
        told[ended.exit_code] += 1
        check_place(place)
        assert os.listdir(tmp_path) == ["b.db"], (call, number)
    assert told[code] > 0


def test_ctrl_c_ends_it_with_130_and_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    ended = run_traced(
        daemon.home, "backup", tmp_path / "b.db", inject="pwrite64:signal=INT:when=10"
    )

    assert ended.exit_code == 130, ended
    assert os.listdir(tmp_path) == []
