"""What a signal handler's exception leaves of `Core` is mended, wherever it came.

A driver mends by a new connection: what it was in the middle of is forgotten there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from luludb.errors import Busy, DaemonUnavailable, DiskFull
from luludb.wire import encode_content
from luludb_client.core import Core, Frame
from luludb_client.line import Command
from tests.unit.interruptions import Interruption, interrupted
from tests.unit.test_core_states import ModelDaemon

NOT_APPLIED = (Busy, DaemonUnavailable, DiskFull)


class Driver:
    """Drives a core against a model of the daemon, and mends it after an interruption."""

    def __init__(self) -> None:
        self.core = Core()
        self.daemon = ModelDaemon()
        self.now_s = 100.0
        self.connection: object = None
        self.begun: Frame | None = None
        self.commands: dict[str, Command] = {}

    def submit(self, text: str, timeout_s: float = 10.0) -> None:
        content = encode_content("good", {"text": text})
        command = Command((content, None, False, 1), self.now_s, timeout_s)
        command.future = object()
        self.commands[text] = command
        self.core.submit(command)

    def run(self, seconds: float, *, is_served: bool = True) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            try:
                went_on = self._step(is_served)
            except Interruption:
                sys.setprofile(None)
                went_on = True
                if self.begun is not None:
                    self.core.began(self.begun, 0.0)
                self.core.disconnected()
                self.connection = None
            self.begun = None
            if not went_on:
                self.now_s = min(until_s, max(self.now_s + 0.005, self.core.due_s))

    def _step(self, is_served: bool) -> bool:
        core = self.core
        if self.now_s >= core.due_s:
            core.tick(self.now_s)
        if self.connection is not None and core.wants_reconnect:
            core.disconnected()
            self.connection = None
        if self.connection is None:
            if not is_served:
                return False
            self.connection = object()
            core.connected(self.now_s)
        frame = core.next_frame(self.now_s)
        if frame is None:
            return False
        self.begun = frame
        core.began(frame, self.now_s)
        core.receive(self.daemon.answer(self.connection, frame.payload), self.now_s)
        return True

    def findings(self) -> list[str]:
        """What is not in order when all is over."""
        core, applied = self.core, self.daemon.applied
        found = [f"{len(core.line)} left in line"] if len(core.line) else []
        counts = (core.line.waiting, core.line.bytes, core.line.idle)
        found += [f"counts are {counts}"] if any(counts) else []
        found += ["not in order"] if applied != sorted(set(applied)) else []
        for text, command in self.commands.items():
            outcome: Any = command.outcome
            if core.ended.count(command) != 1:
                found.append(f"{text} ended {core.ended.count(command)} times")
            if isinstance(outcome, dict) and text not in applied:
                found.append(f"{text} was acknowledged")
            if isinstance(outcome, NOT_APPLIED) and text in applied:
                found.append(f"{text} was refused as {outcome.code} and applied later")
        return found


def answered(driver: Driver) -> None:
    driver.run(3)


def without_a_daemon(driver: Driver) -> None:
    driver.run(6, is_served=False)


def refused(driver: Driver) -> None:
    driver.daemon.refusals.append("disk_full")
    driver.run(4)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a generator
@pytest.mark.parametrize("happens", [answered, without_a_daemon, refused])
def test_an_interruption_anywhere_loses_doubles_and_belies_nothing(
    happens: Callable[[Driver], None],
) -> None:
    place = 1
    while True:
        driver = Driver()
        for number, text in enumerate("abc"):
            driver.submit(text, timeout_s=1 + number)

        was_interrupted = interrupted(lambda driver=driver: happens(driver), place)
        driver.submit("d")
        driver.run(20)

        assert driver.findings() == [], place
        if not was_interrupted:
            break
        place += 1
    assert place > 50


def test_a_submit_that_is_interrupted_leaves_the_line_as_it_is_or_longer() -> None:
    for place in range(1, 20):
        core = Core()
        command = Command((b"x", None, False, 1), 0.0, 1.0)

        interrupted(lambda core=core, command=command: core.submit(command), place)

        line = core.line
        assert (line.waiting, line.bytes) == (len(line.unsent), len(line.unsent))
