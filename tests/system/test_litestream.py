"""docs/litestream.md: what Litestream looked at can be had back from the replica alone."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from luludb_client import Client, LuludbError
from luludb_client.testing import Daemon, running_daemon
from tests.conftest import ROOT
from tests.crash.backups import check_is_a_beginning
from tests.databases import damage, meta_of, query
from tests.system.command_line import luludb

DEADLINE_S = 30.0
WRITERS = 4
ROWS_MIN = 300
LOOK_FILES_MAX = 3  # of one look: before, at and behind a checkpoint of its own
BURSTS = 4
BURST_MESSAGES = 400
MESSAGE_CHARACTERS = 16_000
LITESTREAM = shutil.which("litestream", path=str(Path(sys.executable).parent))

pytestmark = pytest.mark.skipif(
    LITESTREAM is None, reason="tool: litestream is not installed; the extra `test` brings it"
)


class Replica:
    """Litestream with the settings that the documentation shows, and the directory it fills."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.database = home / "lulu.db"
        self._directory = directory
        shown = (ROOT / "docs" / "litestream.md").read_text(encoding="utf-8")
        (settings,) = re.findall(r"^```yaml\n(.*?)^```$", shown, re.MULTILINE | re.DOTALL)
        settings = settings.replace("/home/me/lulu/lulu.db", str(self.database))
        settings = settings.replace("/home/me", str(directory)).replace("/backups", str(directory))
        self._settings = directory / "litestream.yml"
        self._settings.write_text(settings, encoding="utf-8")
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [str(LITESTREAM), "replicate", "-config", str(self._settings)]
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(LITESTREAM), *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def wait_for_looks(self, files_min: int = 2 * LOOK_FILES_MAX + 1) -> None:
        """Wait until it sent so many files; by default a look that began after us is among them."""
        before = set(self._files())
        seen: set[Path] = set()  # those that it merges with others are gone after a while
        until_s = time.monotonic() + DEADLINE_S
        while len(seen - before) < files_min:
            seen |= set(self._files())
            assert time.monotonic() < until_s, self.said()
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"litestream ended: {self.process.wait(0.05)}, {self.said()}")

    def _files(self) -> list[Path]:
        return list((self._directory / "lulu" / "ltx" / "0").glob("*.ltx"))

    def stop(self) -> None:
        """End it cleanly; it sends what is left before it ends."""
        self.process.terminate()
        assert self.process.wait(DEADLINE_S) == 0, self.said()

    def restore(self, place: Path) -> None:
        arguments = ("restore", "-config", str(self._settings), "-o", str(place))
        done = self.run(*arguments, str(self.database))
        assert done.returncode == 0, (done, self.said())

    def said(self) -> str:
        return (self._directory / "log").read_text(encoding="utf-8")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Writers:
    """Threads that append until the daemon is gone; `acknowledged` counts each one's rows."""

    def __init__(self, home: Path) -> None:
        self.acknowledged = [0] * WRITERS
        self._home = home
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, number: int) -> None:
        client = Client(self._home, timeout_s=1.0)
        with contextlib.suppress(LuludbError), client:  # its daemon is killed
            client.create_session("n", "/w", id=f"s{number}")
            while not self._is_over.is_set():
                id = f"{number}-{self.acknowledged[number]}"
                client.append_message(f"s{number}", "user", id * 300, id=id)
                self.acknowledged[number] += 1

    def wait_for(self, rows_more: int) -> None:
        wanted = sum(self.acknowledged) + rows_more
        until_s = time.monotonic() + DEADLINE_S
        while sum(self.acknowledged) < wanted:
            assert time.monotonic() < until_s
            self._is_over.wait(0.02)

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def replicated(directory: Path, daemon: Daemon) -> Iterator[Replica]:
    replica = Replica(directory, daemon.home)
    try:
        yield replica
    finally:
        replica.kill()


def test_what_was_acknowledged_before_its_last_look_survives_the_death_of_everything(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        writers = Writers(daemon.home)
        try:
            writers.wait_for(ROWS_MIN)  # Litestream comes to a database that is written to
            with replicated(tmp_path, daemon) as replica:
                replica.wait_for_looks()
                writers.wait_for(ROWS_MIN)
                acknowledged = list(writers.acknowledged)
                replica.wait_for_looks()
                replica.kill()
                daemon.kill()
        finally:
            writers.end()
        restored = tmp_path / "restored.db"

        replica.restore(restored)

        check_is_a_beginning(restored, daemon.home / "lulu.db")
        rows = dict(query(restored, "SELECT session_id, count(*) FROM messages GROUP BY 1"))
        found = [rows[f"s{number}"] for number in range(WRITERS)]
        assert all(has >= had for has, had in zip(found, acknowledged, strict=True)), (
            found,
            acknowledged,
        )

        shutil.rmtree(daemon.home)
        done = luludb(daemon.home, "restore", str(restored))
        assert done.returncode == 0, done.stderr
        daemon.start()
        with Client(daemon.home) as client:
            client.append_message("s0", "user", "it goes on")
        daemon.stop()
        assert damage(daemon.home / "lulu.db") == []
        ids = [meta_of(path)["database_id"] for path in (daemon.home / "lulu.db", restored)]
        assert ids[0] != ids[1]


def write_burst(home: Path) -> None:
    with Client(home) as client:
        session = client.create_session("burst", "/w")
        for _ in range(BURST_MESSAGES):
            client.submit(
                "message.append",
                session_id=session.id,
                role="user",
                content="x" * MESSAGE_CHARACTERS,
            )


def test_the_log_begins_anew_and_litestream_follows_over_restarts_of_both(tmp_path: Path) -> None:
    written_bytes = BURSTS * BURST_MESSAGES * MESSAGE_CHARACTERS
    with running_daemon(tmp_path / "home") as daemon:
        with replicated(tmp_path, daemon) as replica:
            for burst in range(BURSTS):
                write_burst(daemon.home)
                replica.wait_for_looks(1)
                if burst == 1:
                    daemon.kill()
                    daemon.start()
            log_bytes = (daemon.home / "lulu.db-wal").stat().st_size
            assert log_bytes < written_bytes / 2
            replica.kill()
        write_burst(daemon.home)  # without Litestream the daemon empties the log
        daemon.stop()
        daemon.start()
        with replicated(tmp_path, daemon) as replica:
            replica.wait_for_looks(1)
            write_burst(daemon.home)
            daemon.stop()
            replica.stop()

        replica.restore(tmp_path / "restored.db")

        check_is_a_beginning(tmp_path / "restored.db", daemon.home / "lulu.db")
        (found,) = query(tmp_path / "restored.db", "SELECT count(*) FROM messages")
        assert found == ((BURSTS + 2) * BURST_MESSAGES,)
