"""Watchers in processes of their own are given every change once, in order, whatever happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.outages import new_seed
from tests.crash.watch_checks import deviations, longest_lag_s
from tests.crash.watchers import Notes, Row
from tests.crash.watching import watch_under_kills

CHANGES = 3_000
ROWS: list[Row] = [
    (rev, "message.append", "s" if rev % 2 else "t", f"m{rev}") for rev in range(1, 21)
]


def test_every_watcher_is_given_every_change_once_and_in_order_while_the_daemon_is_killed() -> None:
    watched = watch_under_kills(CHANGES, writers=4, watchers=3, kills=3, seed=new_seed())

    print(watched)
    assert not watched.findings
    assert watched.kills == 3
    assert watched.changes >= CHANGES


def test_so_is_one_that_is_stopped_for_long_or_killed_and_begun_anew() -> None:
    watched = watch_under_kills(
        CHANGES, writers=4, watchers=4, kills=2, stops=3, deaths=2, seed=new_seed()
    )

    print(watched)
    assert not watched.findings
    assert (watched.kills, watched.stops, watched.deaths) == (2, 3, 2)


# What holds the notes against the feed.


def notes_of(session_id: str | None, after_rev: int) -> Notes:
    given = [row for row in ROWS if row[0] > after_rev and session_id in (None, row[2])]
    return Notes(after_rev, after_rev, [0.0], given, [float(row[0]) for row in given])


@pytest.mark.parametrize("session_id", [None, "s"])
@pytest.mark.parametrize("after_rev", [0, 7])
def test_notes_of_each_change_once_and_in_order_are_good(
    session_id: str | None, after_rev: int
) -> None:
    assert deviations(notes_of(session_id, after_rev), session_id, ROWS) == []


@pytest.mark.parametrize("session_id", [None, "s"])
@pytest.mark.parametrize("after_rev", [0, 7])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda given: given.clear(), id="nothing"),
        pytest.param(lambda given: given.pop(0), id="without-the-first"),
        pytest.param(lambda given: given.pop(3), id="without-one-in-between"),
        pytest.param(lambda given: given.pop(), id="without-the-last"),
        pytest.param(lambda given: given.insert(4, given[3]), id="one-twice"),
        pytest.param(lambda given: given.append(given[0]), id="one-again-at-the-end"),
        pytest.param(lambda given: given.insert(2, given.pop(3)), id="two-the-other-way-round"),
        pytest.param(lambda given: given.insert(1, (8, *ROWS[7][1:])), id="one-of-another-place"),
        pytest.param(lambda given: given.append((*given.pop()[:3], "m")), id="another-message"),
    ],
)
def test_each_deviation_is_found(
    session_id: str | None, after_rev: int, spoil: Callable[[list[Row]], None]
) -> None:
    notes = notes_of(session_id, after_rev)

    spoil(notes.given)

    assert deviations(notes, session_id, ROWS) != []


def test_one_that_begins_now_may_begin_where_it_looked_and_nowhere_else() -> None:
    for given_from, is_good in ((4, False), (5, True), (8, True), (9, False)):
        notes = notes_of(None, given_from - 1)
        notes.before_rev, notes.after_rev = 4, 7

        assert (deviations(notes, None, ROWS) == []) == is_good


def test_a_lag_does_not_count_the_time_in_which_the_watcher_could_see_nothing() -> None:
    notes = Notes(0, 0, [10.0], ROWS[:3], [11.0, 20.0, 20.5])
    at_s = {1: 1.0, 2: 12.0, 3: 20.0}

    assert longest_lag_s(notes, at_s, []) == 8.0
    assert longest_lag_s(notes, at_s, [(11.0, 14.0), (13.0, 16.0), (19.0, 30.0)]) == 3.0
