"""What survives a loss of power: at `full` all that was acknowledged, at `normal` a beginning."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luludb.daemon import connection as connection_module
from luludb.daemon import group_commit as group_commit_module
from luludb.daemon import guards as guards_module
from luludb.daemon.connection import set_synchronous
from luludb.errors import StartRefused, StorageFailed
from luludb.home import Home
from luludb.limits import FILE_CHUNK_BYTES
from tests.crash.power import SECTOR_BYTES, power_disk
from tests.crash.power_runs import run_power_cuts
from tests.unit.turns import Clock, Peer, WriterUnderTest, integrity

CUTS = 60
GUARD_CUTS = 600


@pytest.fixture
def seed() -> int:
    chosen = int.from_bytes(os.urandom(4))
    print(f"seed {chosen}")
    return chosen


def test_at_full_no_acknowledged_commit_is_lost(tmp_path: Path, seed: int) -> None:
    figures = run_power_cuts(tmp_path, cuts=CUTS, durability="full", seed=seed)

    print(figures)
    assert figures.cuts == CUTS
    assert figures.acknowledged_lost == 0
    assert min(figures.repeated, figures.kills, figures.cuts_in_a_sync) > 0


def test_at_normal_only_the_last_commits_are_lost(tmp_path: Path, seed: int) -> None:
    figures = run_power_cuts(tmp_path, cuts=CUTS, durability="normal", seed=seed)

    print(figures)
    assert figures.cuts == CUTS
    assert figures.cuts_that_lost > 0
    assert min(figures.repeated, figures.kills, figures.cuts_in_a_sync) > 0


def _not_full(connection: Any, *, full: bool) -> None:
    set_synchronous(connection, full=False)


def _nothing(*_: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("module", "guard", "durability", "without"),
    [
        pytest.param(
            group_commit_module,
            "set_synchronous",
            "full",
            _not_full,
            id="a-commit-at-full-is-synced",
        ),
        pytest.param(
            connection_module, "set_synchronous", "normal", _not_full, id="a-start-is-synced"
        ),
        pytest.param(
            guards_module,
            "_write_log_again",
            "full",
            _nothing,
            id="a-log-whose-sync-failed-is-written-again",
        ),
        pytest.param(
            connection_module, "heed_failure", "full", _nothing, id="a-failed-sync-is-heeded"
        ),
    ],
)
def test_a_guard_that_is_missing_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    guard: str,
    durability: str,
    without: Any,
) -> None:
    """The simulator itself can fail. The cuts are the same each time, since one must be found."""
    monkeypatch.setattr(module, guard, without)

    with pytest.raises((AssertionError, StartRefused), match=r"no beginning|damaged|failed on a"):
        run_power_cuts(tmp_path, cuts=GUARD_CUTS, durability=durability, seed=6)


def test_a_log_that_is_written_again_holds_what_it_held(tmp_path: Path) -> None:
    log = tmp_path / "log"
    content = os.urandom(FILE_CHUNK_BYTES * 2 + 7)
    log.write_bytes(content)

    guards_module.write_again(log)

    assert log.read_bytes() == content


def test_what_a_failed_sync_left_in_memory_survives_a_power_cut_after_the_next_start(
    tmp_path: Path,
) -> None:
    """Nobody got a reply; the row is in the log as the kernel shows it, and not on the disk."""
    with power_disk(tmp_path, random.Random(1)) as disk:
        peer = Peer()
        writer = partial(WriterUnderTest, tmp_path, Clock(), durability="full")
        first = writer()
        first.turn(peer.hello())
        frame = peer.session("s")
        disk.fail_sync_after(1)
        with pytest.raises(StorageFailed):
            first.turn(frame)
        first.crash()
        guards_module.leave_failure(Home(tmp_path), "fdatasync failed")

        disk.restart_after_kill()
        second = writer()
        repeated = second.turn(peer.hello(), frame)[1]
        second.crash()
        disk.lose_all()

        third = writer()
        assert repeated[3]["durability"] == "full"
        assert third.turn(frame) == [repeated]
        assert third.rows("SELECT id FROM sessions") == [("s",)]
        third.crash()


def test_a_repeated_reply_that_says_full_survives_a_cut_after_a_kill(tmp_path: Path) -> None:
    """Killed inside COMMIT, behind the log's writes and before their sync: nobody got a reply."""
    with power_disk(tmp_path, random.Random(1)) as disk:
        peer = Peer()
        writer = partial(WriterUnderTest, tmp_path, Clock(), durability="full")
        first = writer()
        first.turn(peer.hello())
        frame = peer.session("s")
        disk.end_after(1, in_a_sync=True)
        with pytest.raises(StorageFailed):
            first.turn(frame)
        first.crash()

        disk.restart_after_kill()
        second = writer()
        repeated = second.turn(peer.hello(), frame)[1]
        second.crash()
        disk.lose_all()

        third = writer()
        assert repeated[3]["durability"] == "full"
        assert third.turn(frame) == [repeated]
        assert third.rows("SELECT id FROM sessions") == [("s",)]
        third.crash()


def test_a_write_is_torn_between_sectors(tmp_path: Path) -> None:
    """Of one page some sectors survive and some do not; SQLite's checksums see it."""
    torn = 0
    for number in range(40):
        home = tmp_path / str(number)
        home.mkdir()
        with power_disk(home, random.Random(number)) as disk:
            writer = WriterUnderTest(home, Clock())
            peer = Peer()
            writer.turn(peer.hello(), peer.session("s"))
            before = Home(home).wal.stat().st_size
            writer.turn(peer.message("s", "x" * 3000))
            written = Home(home).wal.read_bytes()[before:]
            writer.crash()
            disk.restart_after_power_cut()
            survived = Home(home).wal.read_bytes()[before:]
            torn += survived not in (b"", written) and len(survived) >= SECTOR_BYTES
            after = WriterUnderTest(home, Clock())
            assert integrity(after.connection) == "ok"
            assert len(after.rows("SELECT id FROM messages")) in (0, 1)
            after.crash()

    assert torn > 0
