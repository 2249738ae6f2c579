"""How many frames a turn takes: those of half of the clients, or all where COMMIT takes long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from luludb.daemon import loop
from luludb.daemon.figures import Figures
from luludb.daemon.loop import Daemon, frames_at_once
from luludb.daemon.writer import Turn
from luludb.limits import DRAIN_FRAMES_MAX, DRAIN_FRAMES_MIN

CLIENTS = 40


class Line:
    """Stands for the sockets, at which each client has one frame waiting again and again."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def drain(self, frames_max: int) -> list[tuple[list[bytes], bytes]]:
        self.asked.append(frames_max)
        return [([b"r"], b"")] * min(frames_max, CLIENTS)

    def send(self, _replies: object) -> None: ...

    def publish(self, _batches: object) -> None: ...


def daemon_whose_commits_take(
    share: float, monkeypatch: pytest.MonkeyPatch, *, writes: bool = True
) -> Daemon:
    """A daemon of which a turn takes a second by its clock, and COMMIT `share` of it."""
    daemon = Daemon.__new__(Daemon)
    figures = Figures()
    figures.connections = CLIENTS
    clock = SimpleNamespace(now_s=0.0)

    def turn(frames: list[Any], _refusal: object) -> Turn:
        clock.now_s += 1.0
        figures.commit_ms.add(share * 1000, clock.now_s)
        return Turn(frames, [[(1, "t", "s", None, "op")]] if writes else [], None)  # type: ignore[list-item]

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
        _frames_max=DRAIN_FRAMES_MAX,
    )
    return daemon


def turns(daemon: Daemon, count: int) -> list[int]:
    line = Line()
    for _ in range(count):
        daemon._turn(line, daemon._frames_max)  # type: ignore[arg-type]
    return line.asked


@pytest.mark.parametrize(
    ("connections", "frames"),
    [
        (0, DRAIN_FRAMES_MIN),
        (2 * DRAIN_FRAMES_MIN, DRAIN_FRAMES_MIN),
        (CLIENTS, CLIENTS // 2),
        (10 * DRAIN_FRAMES_MAX, DRAIN_FRAMES_MAX),
    ],
)
def test_half_of_the_clients_share_a_quick_commit(connections: int, frames: int) -> None:
    # A turn of one frame, of which each client of a crowd adds as much work.
    share = 0.0 if connections == 0 else 0.5
    assert frames_at_once(connections, frames=1, commit_s=share, turn_s=1 + share) == frames


@pytest.mark.parametrize("frames", [CLIENTS // 2, CLIENTS])
def test_all_share_a_commit_that_takes_longer_than_the_clients_work(frames: int) -> None:
    half, all_of_it = CLIENTS // 2, DRAIN_FRAMES_MAX
    for commit_s, expected in ((0.6 * CLIENTS, half), (0.7 * CLIENTS, all_of_it)):
        found = frames_at_once(CLIENTS, frames=frames, commit_s=commit_s, turn_s=frames + commit_s)
        assert found == expected


def test_the_next_turn_takes_half_after_one_that_committed_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = daemon_whose_commits_take(0.1, monkeypatch)
    assert turns(daemon, 3) == [DRAIN_FRAMES_MAX, CLIENTS // 2, CLIENTS // 2]


def test_the_next_turn_takes_all_after_one_that_waited_for_the_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = daemon_whose_commits_take(0.9, monkeypatch)
    daemon._frames_max = CLIENTS // 2
    assert turns(daemon, 2) == [CLIENTS // 2, DRAIN_FRAMES_MAX]


def test_a_turn_without_a_commit_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = daemon_whose_commits_take(0.1, monkeypatch, writes=False)
    assert turns(daemon, 2) == [DRAIN_FRAMES_MAX] * 2


def test_what_a_turn_at_its_bound_left_may_wait_since_the_turn_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    daemon = daemon_whose_commits_take(0.1, monkeypatch)

    turns(daemon, 1)
    assert daemon._drained_s == 0.0  # it took all
    turns(daemon, 2)

    assert daemon._drained_s == 1.0  # the third turn began at 2.0, the second at 1.0
