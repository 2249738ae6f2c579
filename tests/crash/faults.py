"""The real daemon with one system call that fails, or in which it is killed, by strace.

One trial: a daemon starts on a new home, a peer sends it commands, each when the one before is
answered, and it is stopped. Somewhere on this way the Nth call of a kind fails. A daemon that
nothing happens to follows it, and is asked everything again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luludb.home import Home
from tests.peer import Answer, Peer, answer_of, request
from tests.serving import serving
from tests.system.conftest import read_rows

CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate")
DEADLINE_S = 30
POLL_MS = 20
_DISK_FULL = "disk_full"


@dataclass(frozen=True, slots=True)
class Fault:
    """The Nth `call`, from 1, and the error with which it fails; without one the daemon dies."""

    call: str
    error: str | None
    number: int

    @property
    def kind(self) -> str:
        """The call and what happens to it."""
        return f"{self.call} {self.error or 'KILL'}"

    def option(self) -> str:
        """What strace is told."""
        what = "signal=KILL" if self.error is None else f"error={self.error}"
        return f"inject={self.call}:{what}:when={self.number}"


@dataclass(slots=True)
class Trial:
    """What came of one fault.

    Attributes:
        exit_code: of the daemon; negative where a signal ended it.
        had_served: whether it had begun to serve.
        was_hit: whether the call was made at all.
        calls: how often each call was made.
        answers: the last answer to each command, None where there was none.
        refused_full: how many commands were answered `disk_full` before they were done.
        was_noted: whether a note of failing storage was left.
    """

    fault: Fault | None
    exit_code: int = 0
    log: str = ""
    had_served: bool = False
    was_hit: bool = False
    was_noted: bool = False
    refused_full: int = 0
    is_registered: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    answers: list[Answer | None] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """How it ended, in a word or two."""
        at = "serving" if self.had_served else "starting"
        return f"{at}, {'killed' if self.exit_code < 0 else f'exit {self.exit_code}'}"

    def __str__(self) -> str:
        fault = "no fault" if self.fault is None else f"{self.fault.kind} at {self.fault.number}"
        return f"{fault}: {self.ending}"


class TracedServer:
    """`luludb serve` under strace, which ends as the daemon does."""

    def __init__(self, home: Path, trace: Path, fault: Fault | None) -> None:
        options = [] if fault is None else ["-e", fault.option()]
        if fault is None or fault.error is not None:
            options.append("--seccomp-bpf")  # faster, but strace 6.1 sends no signal with it
        self._trace = trace
        command = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={','.join(CALLS)}"]
        daemon = [sys.executable, "-m", "luludb", "serve", "--durability", "full"]
        self.process = subprocess.Popen(
            [*command, *options, "--", *daemon, "--home", str(home)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._began = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if " serves " in line:
                self._began.set()
        self._began.set()

    def wait_until_serving(self) -> bool:
        """Whether it serves; False where it ended before that."""
        assert self._began.wait(DEADLINE_S), "it neither served nor ended"
        return any(" serves " in line for line in self.lines)

    def stop(self) -> int:
        """Have the daemon stop, if it lives, and return the exit code."""
        if self.process.poll() is None:
            # To strace itself the signal would mean to detach.
            for pid in _children(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            for pid in (*_children(self.process.pid), self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def calls(self) -> Counter[str]:
        """How often each call was made."""
        found = self._trace.read_text(encoding="utf-8", errors="replace")
        return Counter(call for line in found.splitlines() for call in CALLS if f" {call}(" in line)


def try_fault(fault: Fault | None, commands: int) -> Trial:
    """One trial with so many commands, and all that must be true after it.

    Raises:
        AssertionError: something acknowledged is gone, done twice, or answered otherwise than
            first; or the daemon ended otherwise than it has to.
    """
    directory = Path(tempfile.mkdtemp(prefix="lulu-"))
    try:
        trial = Trial(fault)
        home = directory / "home"
        client_id = os.urandom(16)
        with traced(home, directory / "trace", fault) as server:
            trial.had_served = server.wait_until_serving()
            if trial.had_served:
                _send_all(server, home, client_id, commands, trial)
            trial.exit_code = server.stop()
        trial.log = "".join(server.lines)
        trial.calls = server.calls()
        trial.was_hit = fault is not None and trial.calls[fault.call] >= fault.number
        trial.was_noted = Home(home).failure.exists()
        _check_ending(trial)
        _check_next_daemon(home, client_id, commands, trial)
    finally:
        shutil.rmtree(directory)
    return trial


@contextlib.contextmanager
def traced(home: Path, trace: Path, fault: Fault | None) -> Iterator[TracedServer]:
    """A traced daemon that is gone at the end."""
    server = TracedServer(home, trace, fault)
    try:
        yield server
    finally:
        server.close()


def _command(seq: int) -> tuple[str, dict[str, Any]]:
    if seq == 1:
        return "session.create", {"id": "s", "name": "n", "working_dir": "/w"}
    # No id: one that is done twice would be there twice.
    content = f"{seq} " + "x" * (seq % 7 * 700)
    return "message.append", {"session_id": "s", "role": "user", "content": content}


def _send_all(
    server: TracedServer, home: Path, client_id: bytes, commands: int, trial: Trial
) -> None:
    try:
        peer = Peer(home, client_id)
    except FileNotFoundError:  # it ended already, and took its daemon.json along
        return
    try:
        hello = _ask(server, peer, request(client_id, 0, "hello", {}))
        if hello is not None and hello.body.get("code") == _DISK_FULL:
            trial.refused_full += 1
            hello = _ask(server, peer, request(client_id, 0, "hello", {}))
        trial.is_registered = hello is not None
        for seq in range(1, commands + 1):
            frame = request(client_id, seq, *_command(seq))
            answer = _ask(server, peer, frame)
            if answer is not None and answer.body.get("code") == _DISK_FULL:
                trial.refused_full += 1
                answer = _ask(server, peer, frame)
            trial.answers.append(answer)
    finally:
        peer.close()


def _ask(server: TracedServer, peer: Peer, frame: bytes) -> Answer | None:
    """The answer, or None where the daemon ended without one."""
    peer.send_frame(frame)
    for _ in range(DEADLINE_S * 1000 // POLL_MS):
        has_ended = server.process.poll() is not None  # before the last look
        if peer.socket.poll(POLL_MS):
            return answer_of(peer.receive_frame())
        if has_ended:
            return None
    raise AssertionError("no answer, and the daemon lives")


def _check_ending(trial: Trial) -> None:
    fault, log = trial.fault, trial.log
    about = f"{fault}: {trial.ending}\n{log}"
    assert "Traceback" not in log, about
    answered = [answer for answer in trial.answers if answer is not None]
    assert all(answer.status == 0 for answer in answered), about
    if fault is None or not trial.was_hit:
        assert trial.exit_code == 0, about
    elif fault.error is None:
        assert trial.exit_code == -signal.SIGKILL, about
    elif trial.exit_code == 4:
        assert "storage failed, and the daemon stops: " in log, about
        assert trial.was_noted, about
    elif trial.had_served:
        assert trial.exit_code == 0, about
    else:
        assert trial.exit_code in (0, 1), about
        assert trial.exit_code == 0 or log.strip(), about
    if trial.exit_code == 0:
        assert len(answered) == len(trial.answers), about
        assert not trial.was_noted, about
    if fault is not None and fault.error == "ENOSPC" and fault.call == "pwrite64":
        # A full disk stops nobody, and keeps from starting until there is room.
        assert trial.exit_code == (0 if trial.had_served else 1), about


def _check_next_daemon(home: Path, client_id: bytes, commands: int, trial: Trial) -> None:
    about = f"{trial.fault}: {trial.ending}\n{trial.log}"
    with serving(home) as server:
        assert ("storage failed last time" in server.log) == trial.was_noted, about
        assert not Home(home).failure.exists(), about
        peer = Peer(home, client_id)
        try:
            hello = peer.hello()
            acknowledged = [answer for answer in trial.answers if answer is not None]
            assert hello["last_seq"] >= len(acknowledged), about
            assert not (trial.is_registered and hello["registered"]), about
            for seq in range(1, commands + 1):
                answer = peer.exchange(*_command(seq), seq=seq)
                assert answer.status == 0, f"{answer} {about}"
                if seq <= len(acknowledged):
                    assert answer == acknowledged[seq - 1], about
        finally:
            peer.close()
        assert server.signal(signal.SIGTERM) == 0, server.log
    contents = [_command(seq)[1]["content"] for seq in range(2, commands + 1)]
    sql = "SELECT content FROM messages ORDER BY rowid"
    assert read_rows(home, sql) == [(content,) for content in contents], about
    assert read_rows(home, "PRAGMA integrity_check") == [("ok",)], about


def _children(pid: int) -> list[int]:
    """The processes that strace started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text(encoding="ascii").split()]
