"""Runs the clients of the history checker while daemon and clients are killed and stopped."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luludb_client.testing import Daemon, running_daemon
from tests.crash.history import check
from tests.crash.history_model import Report
from tests.crash.history_records import read_history

ROOT = Path(__file__).resolve().parent.parent.parent
END_S_MAX = 90.0
GROWTH_S_MAX = 30.0
PAUSE_S_MAX = 0.5
STOPPED_S_MAX = 1.5
CALL_TIMEOUT_S = 60.0
KINDS = ("library", "wire")


@dataclass(slots=True)
class ClientProcess:
    """One client: its process and the history that it writes."""

    number: int
    history: Path
    process: subprocess.Popen[bytes]
    is_killed: bool = False
    goes_on_s: float | None = None

    def stop(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.goes_on_s = time.monotonic() + seconds

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.goes_on_s = None


@dataclass(slots=True)
class Crowd:
    """The clients of one run."""

    home: Path
    directory: Path
    seed: int
    timeout_s: float = CALL_TIMEOUT_S
    clients: list[ClientProcess] = field(default_factory=list)

    def add(self, kind: str | None = None) -> ClientProcess:
        number = len(self.clients)
        kind = kind or KINDS[number % len(KINDS)]
        history = self.directory / f"{number}.history"
        command = [sys.executable, "-m", "tests.crash.history_clients", kind, str(self.home)]
        process = subprocess.Popen(
            [*command, str(history), str(number), str(self.seed), str(self.timeout_s)],
            stdin=subprocess.PIPE,
            cwd=ROOT,
        )
        self.clients.append(ClientProcess(number, history, process))
        return self.clients[-1]

    def living(self) -> list[ClientProcess]:
        return [client for client in self.clients if not client.is_killed]

    def kill(self, client: ClientProcess) -> None:
        client.is_killed = True
        client.process.kill()
        client.process.wait()

    def end(self) -> list[str]:
        """Let every client come to its end. Returns what went wrong with it."""
        for client in self.living():
            client.go_on()
            assert client.process.stdin is not None
            client.process.stdin.close()
        deadline_s = time.monotonic() + END_S_MAX
        problems = []
        for client in self.living():
            try:
                code = client.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                code = None
            if code != 0:
                problems.append(f"client {client.number} ended with {code}")
        return problems

    def close(self) -> None:
        for client in self.clients:
            client.process.kill()
            client.process.wait()
            if client.process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    client.process.stdin.close()


@contextlib.contextmanager
def crowd_of(
    home: Path,
    directory: Path,
    *,
    seed: int,
    kinds: tuple[str, ...],
    timeout_s: float = CALL_TIMEOUT_S,
) -> Iterator[Crowd]:
    """Clients of `kinds`, all gone at the end."""
    crowd = Crowd(home, directory, seed, timeout_s)
    try:
        for kind in kinds:
            crowd.add(kind)
        yield crowd
    finally:
        crowd.close()


def wait_for_bytes(path: Path, size: int) -> None:
    """Wait until a history has so many bytes."""
    until_s = time.monotonic() + GROWTH_S_MAX
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < until_s, f"{path} did not grow to {size} bytes"
        time.sleep(0.01)


def report_of(crowd: Crowd, database: Path, problems: list[str]) -> Report:
    """What the histories and the database say, when clients and daemon have ended."""
    histories = [
        read_history(client.history, client.number)
        for client in crowd.clients
        if client.history.exists()  # one that was killed before it began has none
    ]
    report = check(database, histories)
    report.findings += problems
    killed = {client.number for client in crowd.clients if client.is_killed}
    for history in histories:
        if history.client not in killed and not history.is_ended:
            report.findings.append(f"client {history.client} did not come to its end")
    report.findings += [f"a client was told {code}" for code in report.errors]
    return report


class Chaos:
    """What happens to daemon and clients; `happened` counts it."""

    def __init__(self, daemon: Daemon, crowd: Crowd, chance: random.Random) -> None:
        self._daemon = daemon
        self._crowd = crowd
        self._chance = chance
        self._moment = threading.Event()
        self.happened: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Let something happen at random moments."""
        until_s = time.monotonic() + seconds
        events: dict[Callable[[], None], int] = {
            self.kill_daemon: 6,
            self.restart_daemon: 2,
            self.hang_daemon: 2,
            self.stop_client: 3,
            self.kill_client: 3,
        }
        while time.monotonic() < until_s:
            self._moment.wait(self._chance.uniform(0, PAUSE_S_MAX))
            self._wake_clients()
            event = self._chance.choices(list(events), list(events.values()))[0]
            event()
            self.happened[event.__name__] += 1

    def kill_daemon(self) -> None:
        self._daemon.kill()
        self._daemon.start()

    def restart_daemon(self) -> None:
        self._daemon.stop()
        self._daemon.start()

    def hang_daemon(self) -> None:
        os.kill(self._daemon.pid, signal.SIGSTOP)
        self._moment.wait(self._chance.uniform(0, PAUSE_S_MAX))
        os.kill(self._daemon.pid, signal.SIGCONT)

    def stop_client(self) -> None:
        running = [client for client in self._crowd.living() if client.goes_on_s is None]
        if running:
            self._chance.choice(running).stop(self._chance.uniform(0, STOPPED_S_MAX))

    def kill_client(self) -> None:
        self._crowd.kill(self._chance.choice(self._crowd.living()))
        self._crowd.add()

    def _wake_clients(self) -> None:
        for client in self._crowd.living():
            if client.goes_on_s is not None and time.monotonic() >= client.goes_on_s:
                client.go_on()


def run_chaos(seconds: float, *, seed: int, clients: int = 6) -> tuple[Report, Counter[str]]:
    """Let clients write for `seconds` while anything happens to them and to the daemon.

    Returns:
        What the checker found, and what happened how often.
    """
    kinds = tuple(KINDS[number % len(KINDS)] for number in range(clients))
    with tempfile.TemporaryDirectory(prefix="lulu-chaos-") as name:
        directory = Path(name)
        home = directory / "home"
        with (
            running_daemon(home) as daemon,
            crowd_of(home, directory, seed=seed, kinds=kinds) as crowd,
        ):
            chaos = Chaos(daemon, crowd, random.Random(seed))
            chaos.run(seconds)
            problems = crowd.end()
            daemon.stop()
            return report_of(crowd, home / "lulu.db", problems), chaos.happened
