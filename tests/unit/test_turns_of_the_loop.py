"""How many clients a turn serves: half of them, or all where COMMIT takes long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from luludb.daemon import loop
from luludb.daemon.figures import Figures
from luludb.daemon.loop import Daemon, clients_at_once
from luludb.daemon.writer import Turn
from luludb.limits import DRAIN_FRAMES_MAX, TURN_CLIENTS_MIN

CLIENTS = 40
START_S = 5.0


class Line:
    """Stands for the sockets, at which each client has a frame waiting again and again."""

    def drain(self) -> list[tuple[list[bytes], bytes]]:
        return [([b"r"], b"")] * CLIENTS

    def send(self, _replies: object) -> None: ...

    def publish(self, _batches: object) -> None: ...


def daemon_whose_commits_take(
    share: float, monkeypatch: pytest.MonkeyPatch, *, writes: bool = True
) -> tuple[Daemon, list[int]]:
    """A daemon of which a turn takes a second by its clock, and COMMIT `share` of it.

    With it, how many clients each turn was to serve.
    """
    daemon = Daemon.__new__(Daemon)
    figures = Figures()
    figures.connections = CLIENTS
    clock = SimpleNamespace(now_s=START_S)
    asked: list[int] = []

    def turn(frames: list[Any], _refusal: object, *, clients_max: int) -> Turn:
        asked.append(clients_max)
        clock.now_s += 1.0
        figures.commit_ms.add(share * 1000, clock.now_s)
        batches: list[Any] = [[(1, "op", "s", None, "at")]] if writes else []
        return Turn(frames[:clients_max], batches, None, clients_max >= len(frames))

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock.now_s)
    nothing = SimpleNamespace(
        overload=lambda: None, run_if_due=lambda: None, check_places=lambda: None
    )
    vars(daemon).update(
        _figures=figures,
        _writer=SimpleNamespace(turn=turn),
        _checkpoints=nothing,
        _files=nothing,
        _turn_began_s=0.0,
        _drained_s=0.0,
        _lock_wait=SimpleNamespace(waits_total=0),
        _clients_max=DRAIN_FRAMES_MAX,
    )
    return daemon, asked


def run(daemon: Daemon, turns: int) -> None:
    for _ in range(turns):
        daemon._turn(Line(), daemon._clients_max)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("connections", "clients"),
    [
        (0, DRAIN_FRAMES_MAX),
        (2 * TURN_CLIENTS_MIN - 1, DRAIN_FRAMES_MAX),
        (2 * TURN_CLIENTS_MIN, TURN_CLIENTS_MIN),
        (2 * TURN_CLIENTS_MIN + 1, TURN_CLIENTS_MIN + 1),
        (CLIENTS, CLIENTS // 2),
    ],
)
def test_half_of_the_clients_share_a_quick_commit(connections: int, clients: int) -> None:
    # A turn of one frame, of which each client of a crowd adds as much work.
    share = 0.0 if connections == 0 else 0.5
    assert clients_at_once(connections, frames=1, commit_s=share, turn_s=1 + share) == clients


@pytest.mark.parametrize("frames", [CLIENTS // 2, CLIENTS])
def test_all_share_a_commit_that_takes_longer_than_the_clients_work(frames: int) -> None:
    half, all_of_it = CLIENTS // 2, DRAIN_FRAMES_MAX
    for commit_s, expected in ((0.6 * CLIENTS, half), (0.7 * CLIENTS, all_of_it)):
        found = clients_at_once(CLIENTS, frames=frames, commit_s=commit_s, turn_s=frames + commit_s)
        assert found == expected


def test_the_next_turn_serves_half_after_one_that_committed_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon, asked = daemon_whose_commits_take(0.1, monkeypatch)
    run(daemon, 3)
    assert asked == [DRAIN_FRAMES_MAX, CLIENTS // 2, CLIENTS // 2]


def test_the_next_turn_serves_all_after_one_that_waited_for_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon, asked = daemon_whose_commits_take(0.9, monkeypatch)
    daemon._clients_max = CLIENTS // 2
    run(daemon, 2)
    assert asked == [CLIENTS // 2, DRAIN_FRAMES_MAX]


def test_a_turn_without_a_commit_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, asked = daemon_whose_commits_take(0.1, monkeypatch, writes=False)
    run(daemon, 2)
    assert asked == [DRAIN_FRAMES_MAX] * 2


def test_what_a_turn_left_may_wait_since_the_turn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, _ = daemon_whose_commits_take(0.1, monkeypatch)

    run(daemon, 1)
    assert daemon._drained_s == START_S  # it took all
    run(daemon, 2)

    assert daemon._drained_s == START_S + 1  # the second turn began then, and the third after it


def test_what_comes_after_a_silence_has_not_waited_since_the_turn_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon, _ = daemon_whose_commits_take(0.1, monkeypatch)
    run(daemon, 2)
    silent_until_s = START_S + 3600
    daemon._note_queue_wait(START_S + 2, silent_until_s)

    assert daemon._figures.queue_wait_ms.newest == 0.0
    assert daemon._turn_began_s == silent_until_s  # from when what the next turn leaves may wait


def test_all_are_served_at_once_where_a_turn_waits_for_a_foreign_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon, asked = daemon_whose_commits_take(0.1, monkeypatch)
    lock_wait = daemon._lock_wait
    turn = daemon._writer.turn

    def waiting(*args: Any, **options: Any) -> Turn:
        lock_wait.waits_total += 1
        return turn(*args, **options)

    run(daemon, 1)
    monkeypatch.setattr(daemon._writer, "turn", waiting)
    run(daemon, 2)

    assert asked == [DRAIN_FRAMES_MAX, CLIENTS // 2, DRAIN_FRAMES_MAX]
