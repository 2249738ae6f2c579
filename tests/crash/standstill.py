"""Clients that stand still in the middle of their writes, while others go on."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from luludb_client.testing import running_daemon
from tests.crash.chaos import ClientProcess, crowd_of, report_of, wait_for_bytes
from tests.crash.history_model import Report
from tests.crash.progress import Tell, tell_nobody

KINDS = ("blocking", "library", "wire")
"""One of each stands still, and one of each goes on."""

BEGUN_BYTES = 10_000  # of a history; then its client is in the middle
LOOK_S = 0.01
DEADLINE_S = 30.0
MARGIN_S = 60.0  # of a call's timeout above the time that its client stands still


@dataclass(frozen=True, slots=True)
class Standstill:
    """What came of it.

    Attributes:
        seconds: how long they stood still.
        silence_ms: the longest time for which one of the others had no answer.
        woken_ms: from the moment at which they went on, until each had written something new.
        report: of the histories of all.
    """

    seed: int
    seconds: float
    silence_ms: float
    woken_ms: float
    report: Report

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {len(KINDS)} clients stood still for {self.seconds:g} s; of the"
            f" others none waited for longer than {self.silence_ms:.0f} ms; all went on"
            f" {self.woken_ms:.0f} ms after they were woken; {self.report}"
        )


def stand_still(seconds: float, *, seed: int, tell: Tell = tell_nobody) -> Standstill:
    """Stop a client of each kind with SIGSTOP for so long, and let it go on.

    Raises:
        AssertionError: a stopped client wrote, or one of the others did not for half a minute.
    """
    with (
        tempfile.TemporaryDirectory(prefix="lulu-still-") as name,
        running_daemon(Path(name) / "home") as daemon,
        crowd_of(
            daemon.home, Path(name), seed=seed, kinds=KINDS * 2, timeout_s=seconds + MARGIN_S
        ) as crowd,
    ):
        stopped, others = crowd.clients[: len(KINDS)], crowd.clients[len(KINDS) :]
        for client in crowd.clients:
            wait_for_bytes(client.history, BEGUN_BYTES)
        for client in stopped:
            client.process.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(client.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
        before = _sizes(stopped)
        silence_s = _watch(others, seconds, tell)
        assert _sizes(stopped) == before
        woken_s = time.monotonic()
        for client in stopped:
            client.go_on()
        for client in stopped:
            wait_for_bytes(client.history, before[client.number] + 1)
        woken_ms = (time.monotonic() - woken_s) * 1000
        for client in stopped:
            wait_for_bytes(client.history, before[client.number] + BEGUN_BYTES)
        problems = crowd.end()
        daemon.stop()
        report = report_of(crowd, daemon.home / "lulu.db", problems)
    return Standstill(seed, seconds, silence_s * 1000, woken_ms, report)


def _watch(clients: list[ClientProcess], seconds: float, tell: Tell) -> float:
    """Look on for so long. Returns the longest time in which a history did not grow, in seconds."""
    began_s = now_s = time.monotonic()
    sizes = _sizes(clients)
    grown_s = dict.fromkeys(sizes, began_s)
    longest_s = 0.0
    while now_s < began_s + seconds:
        time.sleep(LOOK_S)
        now_s = time.monotonic()
        for number, size in _sizes(clients).items():
            longest_s = max(longest_s, now_s - grown_s[number])
            if size > sizes[number]:
                sizes[number], grown_s[number] = size, now_s
        assert longest_s < DEADLINE_S, "clients that stand still hold up one that does not"
        tell(f"{now_s - began_s:.0f} of {seconds:g} s; longest silence {longest_s * 1000:.0f} ms")
    return longest_s


def _sizes(clients: list[ClientProcess]) -> dict[int, int]:
    return {client.number: client.history.stat().st_size for client in clients}
