"""What lies in examples/, each run as a process against a real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luludb_client import Client
from luludb_client.testing import Daemon, running_daemon
from tests.conftest import ROOT
from tests.system.command_line import DEADLINE_S, luludb
from tests.system.terminal import Terminal, tmux

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with Client(daemon.home) as client:
        yield client


class Running:
    """An example in a process of its own; what it says goes to files, and can be waited for."""

    def __init__(self, home: Path, directory: Path, name: str, *args: str) -> None:
        self.said = directory / f"{len(list(directory.iterdir()))}-{name}"
        self.complained = self.said.with_suffix(".err")
        with self.said.open("wb") as out, self.complained.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / f"{name}.py"), *args],
                env={**os.environ, "LULUDB_HOME": str(home), "PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )

    def lines(self) -> list[str]:
        return self.said.read_text(encoding="utf-8").splitlines()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Until `text` has been said, on either stream, so many times."""
        both = (self.said, self.complained)
        until(lambda: sum(said.read_text("utf-8").count(text) for said in both) >= times, self)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


def until(is_so: Callable[[], bool], running: Running | None = None) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        said = running.complained.read_text("utf-8") if running else ""
        assert time.monotonic() < deadline_s, said
        assert running is None or running.process.poll() is None, said
        time.sleep(0.02)


@pytest.fixture
def run(daemon: Daemon, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """`run(name, *args, home=…)` starts an example, which is killed with the test."""
    started: list[Running] = []

    def start(name: str, *args: str, home: Path = daemon.home) -> Running:
        started.append(Running(home, tmp_path, name, *args))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


# dashboard.py


def test_the_dashboard_prints_each_session_that_changes_where_there_is_no_terminal(
    client: Client, run: Callable[..., Running]
) -> None:
    session = client.create_session("first\tname", "/")
    dashboard = run("dashboard")
    dashboard.wait_for("first name\tcreated\t0\t")

    message = client.append_message(session.id, "user", "two\nlines and \x1b[31mred")
    dashboard.wait_for(f"first name\tcreated\t1\t{message.timestamp}\ttwo lines and ·[31mred\n")
    client.update_session_status(session.id, "running")
    dashboard.wait_for("first name\trunning\t1\t")
    client.delete_message(message.id)
    dashboard.wait_for("first name\trunning\t0\t")

    assert dashboard.end() == 130
    assert dashboard.complained.read_text() == ""


@tmux
def test_the_dashboard_shows_the_newest_activity_first_and_leaves_the_terminal_in_order(
    tmp_path: Path,
) -> None:
    with (
        running_daemon() as daemon,
        Client(daemon.home) as client,
        contextlib.closing(Terminal(daemon.home, LULUDB_HOME=str(daemon.home))) as terminal,
    ):
        older = client.create_session("the older one, 修复解析器 " + "x" * 4000, "/")
        client.create_session("the newer one", "/")
        terminal.type(f"{sys.executable} {EXAMPLES}/dashboard.py; echo ended $?", "Enter")
        first, second = rows(terminal.wait_for("the newer", "the older"))
        assert first.startswith("the newer")
        assert second.startswith("the older")

        client.append_message(older.id, "user", "here it is")
        first, second = rows(terminal.wait_for("here it is"))
        assert first.startswith("the older")

        terminal.resize(40, 5)
        assert len(rows(terminal.wait_for("the o"))) == 2
        daemon.kill()
        daemon.start()
        client.append_message(older.id, "user", "after it")
        terminal.wait_for("afte")

        terminal.type("C-c")
        assert "NAME" not in terminal.wait_for("ended 130")


def rows(screen: str) -> list[str]:
    """The rows of sessions on a screen, below the table's heading."""
    return [line for line in screen.partition("AGO\n")[2].splitlines() if line.strip()]


def test_who_follows_reads_anew_what_a_restore_set_back(
    tmp_path: Path, run: Callable[..., Running]
) -> None:
    with running_daemon(tmp_path / "home") as daemon, Client(daemon.home) as client:
        kept = client.create_session("kept", "/")
        client.append_message(kept.id, "user", "before")
        assert luludb(daemon.home, "backup", str(tmp_path / "b.db")).returncode == 0
        client.update_session_status(kept.id, "newer")
        dashboard = run("dashboard", home=daemon.home)
        replay = run("replay", kept.id, "--follow", home=daemon.home)
        dashboard.wait_for("kept\tnewer")
        replay.wait_for("before")

        daemon.stop()
        restored = luludb(daemon.home, "restore", str(tmp_path / "b.db"))

        assert restored.returncode == 0, restored.stderr
        dashboard.wait_for("kept\tcreated")
        replay.wait_for("a backup was restored")
        daemon.start()
        with Client(daemon.home) as another:
            another.update_session_status(kept.id, "newest")
            another.append_message(kept.id, "user", "after")
        dashboard.wait_for("kept\tnewest")
        replay.wait_for("after")
        assert replay.lines().count("before") == 1
        assert dashboard.end(signal.SIGTERM) == 130


# supervisor.py


@pytest.fixture
def supervise(tmp_path: Path, run: Callable[..., Running]) -> Callable[..., Running]:
    """`supervise(state, command, *args)`, as soon as it follows the changes."""

    def start(state: str, command: str, *args: str) -> Running:
        pause = ("--pause", "0.01")
        command = f"cd {tmp_path} && {command}"
        return run(
            "supervisor", "--state", str(tmp_path / state), "--command", command, *pause, *args
        )

    return start


def attempts(client: Client, session_id: str) -> list[str]:
    return [m.content for m in client.list_messages(session_id) if m.role == "supervisor"]


def has_status(client: Client, session_id: str, status: str) -> Callable[[], bool]:
    def is_so() -> bool:
        session = client.get_session(session_id)
        return session is not None and session.status == status

    return is_so


def until_handled(client: Client, place: Path, supervisor: Running) -> None:
    """Until the supervisor has kept the last rev; the last change was one of a session."""
    last_rev = client.status()["last_rev"]
    until(lambda: place.is_file() and place.read_text() == f"{last_rev}\n", supervisor)


def test_a_failed_session_is_run_again_until_it_completes(
    client: Client, tmp_path: Path, supervise: Callable[..., Running]
) -> None:
    session = client.create_session("n", "/", status="failed")
    (tmp_path / "ran").touch()

    supervisor = supervise(
        "place", 'echo "$LULUDB_SESSION" >> ran; test $(grep -c $LULUDB_SESSION ran) = 3'
    )

    until(has_status(client, session.id, "completed"), supervisor)
    ends = ["failed, exit code 1", "failed, exit code 1", "completed, exit code 0"]
    assert attempts(client, session.id) == [
        f"attempt {number} by {tmp_path / 'place'}: {end}" for number, end in enumerate(ends, 1)
    ]

    client.update_session_status(session.id, "running")  # as who takes it up again does
    until_handled(client, tmp_path / "place", supervisor)
    assert (tmp_path / "ran").read_text().split() == [session.id] * 3


def test_no_session_is_run_more_often_than_allowed(
    client: Client, tmp_path: Path, supervise: Callable[..., Running]
) -> None:
    client.create_session("n", "/")
    supervisor = supervise("place", "exit 7", "--attempts", "2")
    session = client.create_session("n", "/", status="failed")
    supervisor.wait_for(f"{session.id}: attempt 2 of 2 failed, exit code 7")

    end = client.create_session("n", "/", status="failed")
    supervisor.wait_for(f"{end.id}: attempt 2 of 2 failed")

    assert len(attempts(client, session.id)) == 2
    assert has_status(client, session.id, "failed")()


def test_two_supervisors_run_each_failure_once(
    client: Client, tmp_path: Path, supervise: Callable[..., Running]
) -> None:
    sessions = [client.create_session("n", "/", status="failed").id for _ in range(10)]
    both = [supervise(state, 'echo "$LULUDB_SESSION" >> ran') for state in ("one", "two")]
    for supervisor in both:
        supervisor.wait_for("follows")

    sessions += [client.create_session("n", "/", status="failed").id for _ in range(20)]

    for id in sessions:
        until(has_status(client, id, "completed"), both[0])
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(id for id in ran if id in sessions) == sorted(sessions)


def test_a_supervisor_that_was_killed_makes_again_what_was_cut_short_and_goes_on_behind_it(
    client: Client, tmp_path: Path, supervise: Callable[..., Running]
) -> None:
    command = 'echo "$LULUDB_SESSION" >> ran; until [ -e go ]; do sleep 0.02; done'
    first = supervise("place", command)
    first.wait_for("follows")
    session = client.create_session("n", "/", status="failed")
    until((tmp_path / "ran").is_file, first)
    first.end(signal.SIGKILL)
    missed = client.create_session("n", "/", status="failed")

    second = supervise("place", command)
    second.wait_for("is in use")  # by the command, which has outlived the kill
    assert (tmp_path / "ran").read_text().split() == [session.id]
    (tmp_path / "go").touch()

    for id in (session.id, missed.id):
        until(has_status(client, id, "completed"), second)
    assert sorted((tmp_path / "ran").read_text().split()) == sorted([session.id] * 2 + [missed.id])
    assert len(attempts(client, session.id)) == 1
    until_handled(client, tmp_path / "place", second)
    assert second.end() == 130


def test_a_supervisor_whose_place_is_none_of_this_database_looks_at_all_sessions_anew(
    client: Client, tmp_path: Path, supervise: Callable[..., Running]
) -> None:
    session = client.create_session("n", "/", status="failed")
    (tmp_path / "place").write_text("1000000\n")

    supervisor = supervise("place", "true")

    until(has_status(client, session.id, "completed"), supervisor)
    supervisor.wait_for("1000000 was seen")


# replay.py


def replay(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "replay.py"), "--home", str(home), *args],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=DEADLINE_S,
    )


def test_replay_shows_all_messages_in_order_with_every_line_and_nothing_that_controls_a_terminal(
    client: Client,
) -> None:
    session = client.create_session("n", "/")
    at = "2026-01-01T00:0{}:00.000000+00:00"
    for minute, content in enumerate(("one\n\ttwo", "\x1b[2Jred\x07 \u202e 你好 🚀", "")):
        client.append_message(session.id, "user", content, timestamp=at.format(minute))

    done = replay(client.home, session.id, "--speed", "1e6")

    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "user  2026-01-01T00:00:00.000000+00:00\none\n\ttwo\n\n"
        "user  2026-01-01T00:01:00.000000+00:00\n\\x1b[2Jred\\x07 \\u202e 你好 🚀\n\n"
        "user  2026-01-01T00:02:00.000000+00:00\n\n\n"
    )


def test_replay_waits_between_messages_as_long_as_it_took_by_speed_and_no_longer_than_asked(
    client: Client,
) -> None:
    session = client.create_session("n", "/")
    for hour in ("00", "01"):
        moment = f"2026-01-01T{hour}:00:00Z"
        client.append_message(session.id, "user", hour, timestamp=moment)

    began_s = time.monotonic()
    assert replay(client.home, session.id, "--speed", "6000").returncode == 0
    by_speed_s = time.monotonic() - began_s
    # An hour, but for the bound; without it the deadline would be missed.
    assert replay(client.home, session.id, "--pause-max", "0.01").returncode == 0

    assert by_speed_s > 0.6


def test_replay_follows_and_ends_with_the_session(
    client: Client, run: Callable[..., Running]
) -> None:
    session = client.create_session("n", "/")
    client.append_message(session.id, "user", "before", timestamp="2026-01-01T00:00:00Z")
    following = run("replay", session.id, "--follow")
    following.wait_for("before")

    with client.transaction() as together:
        for n in range(20):
            together.append_message(session.id, "assistant", f"live {n}")
    following.wait_for("live 19")
    client.delete_session(session.id)

    assert following.process.wait(DEADLINE_S) == 0
    shown = [line for line in following.lines() if line.startswith(("before", "live"))]
    assert shown == ["before", *(f"live {n}" for n in range(20))]
    assert following.complained.read_text() == ""


def test_replay_ends_quietly_when_its_reader_has_enough(client: Client) -> None:
    session = client.create_session("n", "/")
    for n in range(50):
        client.append_message(session.id, "user", f"{n} " + "x" * 10_000)
    command = [sys.executable, str(EXAMPLES / "replay.py"), session.id, "--home", str(client.home)]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(DEADLINE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_unknown_session_is_said_and_not_replayed(client: Client) -> None:
    done = replay(client.home, "nobody")

    assert done.returncode == 1
    assert done.stderr == "replay: there is no session nobody\n"
