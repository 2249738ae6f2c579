"""A loss of power at any moment of a restore leaves the old database or the new one, whole."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import apsw
import pytest

from luludb.admin import copying as copying_module
from luludb.admin import restore as restore_module
from luludb.admin.replacement import make_ready
from luludb.daemon.connection import LockWait, open_database
from luludb.errors import StorageFailed
from luludb.home import Home
from tests.crash.outages import new_seed
from tests.crash.power import Disk, power_disk
from tests.databases import TIME, make_todays_file
from tests.unit.turns import integrity

CUTS = 150
CUTS_BESIDE_A_READER = 20
OLD_COMMITS = 12
BODY = "x" * 3000


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that is to take the database's place, with 200 messages in the session `old`."""
    directory = tmp_path_factory.mktemp("ready")
    make_todays_file(directory / "backup.db", messages=200)
    path, _ = make_ready(
        directory / "backup.db", directory, page_bytes=4096, show=lambda _verb, _done, _total: None
    )
    return path.rename(directory / "ready.db")


@contextlib.contextmanager
def disk_with_database(chance: random.Random, *, failed: bool) -> Iterator[tuple[Disk, Home]]:
    """A disk on which a daemon died, its last commits in the log; where `failed`, of a sync."""
    with tempfile.TemporaryDirectory(prefix="lulu-power-") as name:
        home = Home(Path(name))
        with power_disk(home.path, chance) as disk, patched_to(disk):
            connection = open_database(home, LockWait(home, lambda: False))
            with contextlib.closing(connection):
                for number in range(OLD_COMMITS):
                    if failed and number == OLD_COMMITS - 1:
                        connection.execute("PRAGMA synchronous = NORMAL")
                        commit(connection, number)
                        connection.execute("PRAGMA synchronous = FULL")
                        disk.fail_sync_after(1)
                        with pytest.raises(apsw.IOError):
                            commit(connection, number + 1)
                        home.failure.write_text("now the disk failed\n")
                    else:
                        commit(connection, number)
                    if number == OLD_COMMITS // 2:
                        connection.wal_checkpoint()
            disk.restart_after_kill()
            yield disk, home


@contextlib.contextmanager
def patched_to(disk: Disk) -> Iterator[None]:
    """What restore does behind SQLite's back is done to the disk as well."""
    with (
        patch.object(restore_module, "write_again", disk.write_again),
        patch.object(restore_module, "sync_to_disk", lambda _path: disk.sync_names()),
    ):
        yield


def commit(connection: apsw.Connection, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    row = (f"s{number}", BODY, "created", "/w", TIME, TIME)
    connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.execute("COMMIT")


def replace(home: Home, ready: Path) -> bool:
    """Whether the restore said that it was done."""
    try:
        restore_module._replace(home, ready, lambda _verb, _done, _total: None)
    except (apsw.IOError, apsw.CantOpenError, StorageFailed):
        return False
    return True


def found(home: Home, *, failed: bool) -> str:
    """`old` or `new`: what the next daemon opens."""
    connection = open_database(home, LockWait(home, lambda: False))
    with contextlib.closing(connection):
        assert integrity(connection) == "ok"
        ids = [id for (id,) in connection.execute("SELECT id FROM sessions ORDER BY rowid")]
        ((messages,),) = connection.execute("SELECT count(*) FROM messages").fetchall()
    if ids == ["old"]:
        assert messages == 200
        return "new"
    assert messages == 0
    assert ids == [f"s{number}" for number in range(len(ids))]
    # What a failed sync was to keep has no known outcome, and nobody was told that it was kept.
    assert len(ids) == OLD_COMMITS or (failed and len(ids) >= OLD_COMMITS - 1)
    return "old"


@contextlib.contextmanager
def reader_of(home: Home) -> Iterator[None]:
    """A program that reads the old rows, so that the log cannot be copied back."""
    connection = apsw.Connection(str(home.database), flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sessions").fetchall()
    try:
        yield
    finally:
        # SQLite tries to lock the file for writing as the last one closes, and forgives that a
        # reader cannot; a VFS of apsw's raises there.
        with contextlib.suppress(apsw.IOError):
            connection.close()


def test_beside_a_reader_what_was_restored_is_safe_in_the_log(ready: Path) -> None:
    seed = new_seed()
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(CUTS_BESIDE_A_READER):
        with (
            disk_with_database(chance, failed=False) as (disk, home),
            patch.object(copying_module, "READ_BUSY_TIMEOUT_MS", 1),
        ):
            # With nothing left to copy back a checkpoint syncs nothing, and only COMMIT does.
            with contextlib.closing(apsw.Connection(str(home.database))) as connection:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                with reader_of(home):
                    assert replace(home, ready)
            assert home.wal.stat().st_size > ready.stat().st_size
            disk.restart_after_power_cut()

            assert found(home, failed=False) == "new"


@pytest.mark.parametrize("failed", [False, True], ids=["after-a-kill", "after-a-failed-sync"])
def test_a_loss_of_power_leaves_the_old_database_or_the_new_one(ready: Path, failed: bool) -> None:
    seed = new_seed()
    print(f"seed {seed}")
    chance = random.Random(seed)
    with disk_with_database(chance, failed=failed) as (disk, home):
        before = disk.operations
        assert replace(home, ready)
        operations = disk.operations - before
    outcomes: Counter[tuple[bool, str]] = Counter()

    for _ in range(CUTS):
        with disk_with_database(chance, failed=failed) as (disk, home):
            # The last operations decide most: one cut in two is among them, or behind the end.
            first = chance.choice([1, operations - 30])
            disk.end_after(chance.randint(first, operations + 5))
            is_done = replace(home, ready)
            disk.restart_after_power_cut()

            state = found(home, failed=failed)

            assert state == "new" or not is_done, "what was restored is gone"
            outcomes[is_done, state] += 1

    print(operations, outcomes)
    assert min(outcomes[False, "old"], outcomes[False, "new"], outcomes[True, "new"]) > 0
