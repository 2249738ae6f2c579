"""A restore that is killed, or meets a failing disk, leaves the old database or the new, whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.crash.commands import moments, run_traced
from tests.databases import damage, digest_of_rows, meta_of
from tests.system.command_line import luludb

KILLS_EACH = 3  # of each kind of call: the first, one in the middle, and the last
FAILURES_EACH = 2
NO_WRITES = ("mkdir", "rmdir", "unlink")
MESSAGES = 400
STARTS_EVERY = 8  # restores: so often a daemon is started on what is left

T = TypeVar("T")
R = TypeVar("R")

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="tool: strace is not installed"
)


class Case(NamedTuple):
    """A home as a daemon left it that was killed, and a backup of it from before."""

    home: Path
    backup: Path
    old_rows: str
    old_id: str


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    directory = tmp_path_factory.mktemp("case")
    with running_daemon(directory / "home") as daemon:
        with Client(daemon.home) as client:
            fill(client, "first")
            assert luludb(daemon.home, "backup", str(directory / "b.db")).returncode == 0
            fill(client, "second")
            client.delete_session("first")
        daemon.kill()
        database = daemon.home / "lulu.db"
        assert (daemon.home / "lulu.db-wal").stat().st_size > 0
        old_id = meta_of(directory / "b.db")["database_id"]
        yield Case(daemon.home, directory / "b.db", digest_of_rows(database), old_id)


def fill(client: Client, session_id: str) -> None:
    with client.transaction() as together:
        together.create_session("n", "/w", id=session_id)
        for number in range(MESSAGES):
            together.append_message(session_id, "user", f"{number} " * 200)


@contextlib.contextmanager
def new_home(case: Case) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lulu-restore-") as directory:
        home = Path(directory) / "home"
        shutil.copytree(case.home, home, ignore=shutil.ignore_patterns("*.sock", "lulu.db-shm"))
        yield home


def calls_of_a_restore(case: Case) -> Counter[str]:
    with new_home(case) as home:
        whole = run_traced(home, "restore", case.backup)
    assert whole.exit_code == 0, whole
    assert {"pwrite64", "fdatasync", "fsync", "ftruncate", "rename"} <= set(whole.calls)
    return whole.calls


def at_each(moments: Iterable[T], check: Callable[[T], R]) -> Counter[R]:
    """What `check` found at each of them; several at a time, each with a home of its own."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return Counter(pool.map(check, moments))


def found(case: Case, home: Path) -> str:
    """`old` or `new`: which database it is, rows and id together."""
    database = home / "lulu.db"
    assert damage(database) == []
    rows, id = digest_of_rows(database), meta_of(database)["database_id"]
    if rows == case.old_rows:
        assert id == case.old_id
        return "old"
    assert rows == digest_of_rows(case.backup)
    # With the old id, clients that knew the old database would go on in the new one.
    assert id != case.old_id
    return "new"


def check_saved(case: Case, home: Path) -> None:
    for saved in home.glob("lulu-before-restore-*.db"):
        assert damage(saved) == []
        assert digest_of_rows(saved) == case.old_rows


def test_a_kill_at_any_moment_leaves_the_old_database_or_the_new_one(case: Case) -> None:
    def check(moment: tuple[int, tuple[str, int]]) -> str:
        count, (call, number) = moment
        inject = f"{call}:signal=KILL:when={number}"
        with new_home(case) as home:
            ended = run_traced(home, "restore", case.backup, inject=inject)

            assert ended.exit_code == -signal.SIGKILL, (inject, ended)
            outcome = found(case, home)
            check_saved(case, home)
            if count % STARTS_EVERY == 0:
                with running_daemon(home) as daemon:
                    daemon.stop()
                assert found(case, home) == outcome
            assert luludb(home, "restore", str(case.backup)).returncode == 0
            assert found(case, home) == "new"
            assert [name for name in os.listdir(home) if name.endswith(".part")] == []
        return outcome

    outcomes = at_each(enumerate(moments(calls_of_a_restore(case), KILLS_EACH)), check)

    print(outcomes)
    assert min(outcomes["old"], outcomes["new"]) > 0


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failing_disk_is_told_and_leaves_the_old_database_or_the_new_one(
    case: Case, error: str
) -> None:
    def check(moment: tuple[str, int]) -> tuple[int, str]:
        call, number = moment
        inject = f"{call}:error={error}:when={number}"
        with new_home(case) as home:
            ended = run_traced(home, "restore", case.backup, inject=inject)

            assert "Traceback" not in ended.said, (inject, ended)
            was_noted = (home / "storage-failed").exists()
            state = found(case, home)
            # A full disk may still leave room enough: what is not copied back is safe in the log.
            assert ended.exit_code in (0, 1, 4), (inject, ended)
            assert ended.exit_code != 0 or state == "new", (inject, ended)
            assert ended.exit_code != 1 or state == "old", (inject, ended)
            check_saved(case, home)
            with running_daemon(home) as daemon:
                assert ("storage failed last time" in daemon.stderr()) == was_noted
                daemon.stop()
            assert found(case, home) == state
        return ended.exit_code, state

    calls = calls_of_a_restore(case)
    chosen = [each for each in moments(calls, FAILURES_EACH) if each[0] not in NO_WRITES]
    outcomes = at_each(chosen, check)

    print(outcomes)
    assert sum(count for (code, _), count in outcomes.items() if code != 0) > 0
