"""The history checker: what it finds in histories that are wrong, and that ours are right."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.chaos import run_chaos
from tests.crash.history import check
from tests.crash.history_model import Report
from tests.crash.history_records import History, Sent
from tests.crash.outages import new_seed
from tests.crash.standstill import stand_still

SECONDS = 8.0
STOPPED_S = 3.0
AT = "2026-01-02T03:04:05.000006+00:00"
SCHEMA = """
CREATE TABLE sessions (id, name, status, working_dir, created_at, updated_at);
CREATE TABLE messages (id, session_id, role, content, timestamp);
CREATE TABLE lulu_changes (rev INTEGER PRIMARY KEY, op, session_id, message_id, at);
"""


def test_histories_of_clients_and_daemons_that_die_all_along_are_right() -> None:
    seed = new_seed()

    report, happened = run_chaos(SECONDS, seed=seed)

    print(f"seed {seed}: {dict(happened)}: {report}")
    assert not report.findings, f"seed {seed}: {report}"
    assert report.answered > 1000
    assert report.answered_again > 0


def test_clients_that_stand_still_in_the_middle_lose_nothing_and_hold_up_nobody() -> None:
    standstill = stand_still(STOPPED_S, seed=new_seed())

    print(standstill)
    assert not standstill.report.findings, standstill
    assert not standstill.report.unanswered


# The checker itself.


class Told:
    """A database and the histories that fit it; tests spoil the one or the other."""

    def __init__(self) -> None:
        row = ("s", "n", "created", "/w", AT, AT)
        self.sessions: list[tuple[Any, ...]] = [row]
        self.messages: list[tuple[Any, ...]] = [
            (id, "s", "user", "hi", AT) for id in ("m1", "m2", "lost", "m3")
        ]
        self.feed: list[tuple[Any, ...]] = [
            (1, "session.create", "s", None, AT),
            *(
                (rev, "message.append", "s", id, AT)
                for rev, id in enumerate(("m1", "m2", "lost", "m3"), 2)
            ),
        ]
        session = {"id": "s", "name": "n", "working_dir": "/w"}
        columns = ("id", "name", "status", "working_dir", "created_at", "updated_at")
        created = {"rev": 1, "session": dict(zip(columns, row, strict=True))}
        self.first = History(0, is_ended=True)
        self.first.commands = [
            Sent(0, 1, "session.create", session, [(0, created)]),
            Sent(0, 2, "message.append", message("m1"), [(0, {"rev": 2}), (0, {"rev": 2})]),
        ]
        self.second = History(1, is_ended=True)
        self.second.commands = [
            Sent(1, 1, "message.append", message("m2"), [(0, {"rev": 3})]),
            Sent(1, 2, "message.append", message("lost"), []),
            Sent(1, 3, "message.append", message("m2"), [(1, {"code": "already_exists"})]),
            Sent(1, 4, "message.append", message("m3"), [(0, {"rev": 5})]),
        ]

    def check(self, directory: Path) -> Report:
        path = directory / "told.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript(SCHEMA)
            for table, rows in (
                ("sessions", self.sessions),
                ("messages", self.messages),
                ("lulu_changes", self.feed),
            ):
                places = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
            connection.commit()
        return check(path, [copy.deepcopy(self.first), copy.deepcopy(self.second)])


def message(id: str) -> dict[str, str]:
    return {"id": id, "session_id": "s", "role": "user", "content": "hi"}


def test_a_history_that_fits_has_no_findings(tmp_path: Path) -> None:
    report = Told().check(tmp_path)

    assert report.findings == []
    assert (report.unanswered, report.unanswered_applied, report.answered_again) == (1, 1, 1)


def lose_a_row(told: Told) -> None:
    del told.messages[0]


def lose_the_newest_commit(told: Told) -> None:
    del told.messages[-1], told.feed[-1]


def double_a_row(told: Told) -> None:
    told.messages.append(("m1-again", "s", "user", "hi", AT))


def apply_an_unanswered_command_twice(told: Told) -> None:
    told.feed.append((6, "message.append", "s", "lost", AT))


def lose_the_change_of_an_unanswered_command(told: Told) -> None:
    told.feed[3] = (4, "session.delete", "other", None, AT)


def change_a_row(told: Told) -> None:
    told.messages[1] = ("m2", "s", "user", "ho", AT)


def swap_two_rows(told: Told) -> None:
    told.messages[:2] = told.messages[1::-1]


def swap_two_commands_of_a_client(told: Told) -> None:
    told.first.commands.reverse()


def leave_out_an_unanswered_command(told: Told) -> None:
    told.messages = [row for row in told.messages if row[0] != "lost"]
    told.feed = [*told.feed[:3], (4, "message.append", "s", "m3", AT)]
    told.second.commands[3].answers = [(0, {"rev": 4})]


def apply_an_unanswered_command_behind_a_later_one(told: Told) -> None:
    told.messages[2:] = told.messages[:1:-1]
    told.feed[3:] = [(4, "message.append", "s", "m3", AT), (5, "message.append", "s", "lost", AT)]
    told.second.commands[3].answers = [(0, {"rev": 4})]


def answer_otherwise_the_second_time(told: Told) -> None:
    told.first.commands[1].answers.append((0, {"rev": 3}))


def refuse_without_a_reason(told: Told) -> None:
    told.second.commands[2].answers = [(1, {"code": "not_found"})]


def tell_two_commands_the_same_rev(told: Told) -> None:
    told.second.commands[0].answers = [(0, {"rev": 2})]


def leave_a_gap_in_the_feed(told: Told) -> None:
    told.feed[-1] = (6, *told.feed[-1][1:])
    told.second.commands[3].answers = [(0, {"rev": 6})]


def tell_another_row_than_is_kept(told: Told) -> None:
    told.first.commands[0].answers[0][1]["session"]["name"] = "m"


def ring_for_nobodys_change(told: Told) -> None:
    told.feed.append((6, "session.update", "s", None, AT))


@pytest.mark.parametrize(
    "spoil",
    [
        lose_a_row,
        lose_the_newest_commit,
        double_a_row,
        apply_an_unanswered_command_twice,
        lose_the_change_of_an_unanswered_command,
        change_a_row,
        swap_two_rows,
        swap_two_commands_of_a_client,
        leave_out_an_unanswered_command,
        apply_an_unanswered_command_behind_a_later_one,
        answer_otherwise_the_second_time,
        refuse_without_a_reason,
        tell_two_commands_the_same_rev,
        leave_a_gap_in_the_feed,
        tell_another_row_than_is_kept,
        ring_for_nobodys_change,
    ],
    ids=lambda spoil: spoil.__name__.replace("_", "-"),
)
def test_whatever_is_wrong_is_found(spoil: Callable[[Told], None], tmp_path: Path) -> None:
    told = Told()

    spoil(told)

    assert told.check(tmp_path).findings


def test_a_change_that_two_unanswered_commands_can_have_made_is_left_to_the_right_one(
    tmp_path: Path,
) -> None:
    """Client 0's first update came too early and was refused; its later ones were applied."""
    told = Told()
    update = {"id": "m3", "content": "hi"}
    told.first.commands += [
        Sent(0, 3, "message.update", update, []),
        Sent(0, 4, "message.append", message("m4"), []),
    ]
    told.second.commands.append(Sent(1, 5, "message.update", update, []))
    told.feed[-1:] = [
        (5, "message.append", "s", "m4", AT),
        (6, "message.append", "s", "m3", AT),
        (7, "message.update", "s", "m3", AT),
    ]
    told.second.commands[3].answers = [(0, {"rev": 6})]
    told.messages.insert(3, ("m4", "s", "user", "hi", AT))

    report = told.check(tmp_path)

    assert report.findings == []
    assert (report.unanswered_applied, report.ambiguous) == (3, 0)
