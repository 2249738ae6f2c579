"""Holds what clients recorded of their requests and replies against what the database has.

Nothing is taken from the daemon: the feed is replayed, in the order of its revs, with the commands
of the histories, and the result has to be the tables as they are.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.crash.history_model import ANY, Model, Report
from tests.crash.history_records import Args, History, Row, Sent, bounds_of


def check(database: Path, histories: Sequence[History]) -> Report:
    """Compare `database`, whose daemon has ended, with all that was ever sent to it."""
    report = Report()
    with contextlib.closing(
        sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
    ) as connection:
        feed = connection.execute("SELECT * FROM lulu_changes ORDER BY rev").fetchall()
        checker = _Checker(feed, histories, report)
        checker.check_replies()
        checker.claim_revs()
        checker.find_unanswered()
        checker.check_orders()
        checker.replay()
        checker.check_refusals()
        checker.compare(
            connection.execute("SELECT * FROM sessions ORDER BY rowid").fetchall(),
            connection.execute("SELECT * FROM messages ORDER BY rowid").fetchall(),
        )
        damage = connection.execute("PRAGMA integrity_check(5)").fetchall()
        if damage != [("ok",)]:
            report.find(f"the file is damaged: {damage}")
    return report


class _Checker:
    def __init__(self, feed: list[Any], histories: Sequence[History], report: Report) -> None:
        self._feed = {row[0]: row for row in feed}
        self._last_rev = max(self._feed, default=0)
        self._histories = histories
        self._report = report
        self._claims: dict[int, tuple[Sent, str, Args, Row]] = {}
        self._model = Model(report)
        if list(self._feed) != list(range(1, self._last_rev + 1)):
            self._find("the feed's revs have gaps")

    def _find(self, what: str) -> None:
        self._report.find(what)

    def check_replies(self) -> None:
        """Every reply to one command is the first one."""
        report = self._report
        for history in self._histories:
            report.errors += history.errors
            for sent in history.commands:
                report.commands += 1
                report.answered += bool(sent.answers)
                report.answered_again += max(0, len(sent.answers) - 1)
                report.refused += bool(sent.answers) and sent.answers[0][0] == 1
                report.unanswered += not sent.answers
                if any(answer != sent.answers[0] for answer in sent.answers):
                    self._find(f"{sent} got different replies: {sent.answers}")

    def claim_revs(self) -> None:
        """Every acknowledged change is in the feed, and no two commands have the same one."""
        for sent in self._commands():
            if sent.answers and sent.answers[0][0] == 0:
                body = sent.answers[0][1]
                results = body["results"] if sent.op == "transaction" else [body]
                for (op, args), result in zip(sent.singles, results, strict=True):
                    self._claim(sent, result["rev"], op, args, result)

    def _claim(self, sent: Sent, rev: int, op: str, args: Args, result: Row) -> None:
        if rev in self._claims:
            self._find(f"rev {rev} was told to {sent} and to {self._claims[rev][0]}")
        if rev not in self._feed:
            self._find(f"lost: rev {rev} of {sent}")
            return
        if not _is_of(self._feed[rev], op, args):
            self._find(f"rev {rev} is {self._feed[rev]} and not {sent}")
        self._claims[rev] = (sent, op, args, result)
        sent.revs.append(rev)

    def find_unanswered(self) -> None:
        """Every other change is that of an unanswered command, once, at its place in the order.

        A change that only one command can have made is settled first, since it tells what those
        in front of and behind that command can have made.
        """
        waiting = _Waiting(self._histories, self._last_rev)
        revs = [rev for rev in self._feed if rev not in self._claims]
        while revs:
            waiting.narrow()
            left = [rev for rev in revs if not self._settle(rev, waiting)]
            if left == revs:
                first, *left = left
                fitting = self._fitting(first, waiting)
                self._report.ambiguous += 1
                self._assign(first, min(fitting, key=waiting.skipped), waiting, is_sure=False)
            revs = left

    def _settle(self, rev: int, waiting: _Waiting) -> bool:
        """Find who made the change; False where several can have."""
        if rev in self._claims:
            return True  # it was found with the first one of its transaction
        fitting = self._fitting(rev, waiting)
        if len(fitting) > 1:
            return False
        if fitting:
            self._assign(rev, fitting[0], waiting, is_sure=True)
        else:
            self._find(f"nobody sent rev {rev}, {self._feed[rev]}, or it was applied twice")
        return True

    def _fitting(self, rev: int, waiting: _Waiting) -> list[Sent]:
        return [sent for sent in waiting.around(self._feed[rev]) if self._fits(sent, rev)]

    def _assign(self, rev: int, sent: Sent, waiting: _Waiting, *, is_sure: bool) -> None:
        waiting.remove(sent)
        self._report.unanswered_applied += 1
        for offset, (op, args) in enumerate(sent.singles):
            self._claims[rev + offset] = (sent, op, args if is_sure else _blurred(args), {})
            sent.revs.append(rev + offset)

    def _fits(self, sent: Sent, rev: int) -> bool:
        revs = range(rev, rev + len(sent.singles))
        return all(
            each in self._feed and each not in self._claims and _is_of(self._feed[each], *single)
            for each, single in zip(revs, sent.singles, strict=True)
        )

    def check_orders(self) -> None:
        """A client's commands have rising revs in the order in which it sent them."""
        for history in self._histories:
            last = 0
            for sent in history.commands:
                for rev in sent.revs:
                    if rev <= last:
                        self._find(f"{sent} has rev {rev}, and one sent before it has {last}")
                    last = max(last, rev)

    def replay(self) -> None:
        """Apply the feed to the model."""
        for rev in range(1, self._last_rev + 1):
            if rev in self._claims and rev in self._feed:
                sent, op, args, result = self._claims[rev]
                self._model.apply(self._feed[rev], op, args, result, str(sent))

    def check_refusals(self) -> None:
        """A refusal is right at some moment between the client's commands before and after it.

        An unanswered command that left no change, with one behind it that did, was refused.
        """
        for history in self._histories:
            bounds = {id(sent): bound for sent, bound in bounds_of(history, self._last_rev)}
            for sent in history.commands:
                after, before = bounds[id(sent)]
                if sent.answers and sent.answers[0][0] == 1:
                    self._check_refusal(sent, sent.answers[0][1], after, before)
                elif not (sent.answers or sent.revs or self._may_be_left_out(sent, after, before)):
                    self._find(f"{sent} was left out, and later ones were applied")

    def _may_be_left_out(self, sent: Sent, after: int, before: int) -> bool:
        return before > self._last_rev or any(
            self._model.may_be(code, op, args, after, before)
            for op, args in sent.singles
            for code in ("not_found", "already_exists", "invalid", "unknown_op")
        )

    def _check_refusal(self, sent: Sent, body: Row, after: int, before: int) -> None:
        singles = sent.singles
        index = body.get("index", 0)
        op, args = singles[index]
        earlier = {value for _, each in singles[:index] for value in each.values()}
        cascades = any(each == "session.delete" for each, _ in singles[:index])
        if cascades or earlier & {args.get("id"), args.get("session_id")}:
            return  # what it met was made or removed by its own transaction
        if not self._model.may_be(body["code"], op, args, after, before):
            self._find(f"{sent} {args} was refused as {body}, between revs {after} and {before}")

    def compare(self, sessions: list[Any], messages: list[Any]) -> None:
        """The tables are what the replay left, rows and order."""
        self._compare(
            "sessions", sessions, [tuple(r.values()) for r in self._model.sessions.values()]
        )
        self._compare(
            "messages", messages, [tuple(r.values()) for r in self._model.messages.values()]
        )
        self._report.changes = len(self._feed)

    def _compare(self, table: str, found: list[Any], expected: list[Any]) -> None:
        ids, expected_ids = [row[0] for row in found], [row[0] for row in expected]
        for name, rows in (
            ("lost", set(expected_ids) - set(ids)),
            ("doubled", set(ids) - set(expected_ids)),
        ):
            if rows:
                self._find(f"{table}: {name} or never sent: {sorted(rows)[:5]} ({len(rows)})")
        if set(ids) == set(expected_ids) and ids != expected_ids:
            self._find(f"{table} are not in the order of the feed")
        by_id = {row[0]: row for row in expected}
        for row in found:
            wanted = by_id.get(row[0], row)
            if any(a is not ANY and a != b for a, b in zip(wanted, row, strict=True)):
                self._find(f"{table}: {row} should be {wanted}")

    def _commands(self) -> Iterable[Sent]:
        return (sent for history in self._histories for sent in history.commands)


class _Waiting:
    """The unanswered commands that no change was found for, and the revs they can have."""

    def __init__(self, histories: Sequence[History], last_rev: int) -> None:
        self._last_rev = last_rev
        self._open: dict[tuple[str, str], list[Sent]] = {}
        self._bounds: dict[int, tuple[int, int]] = {}
        self._histories = []
        for history in histories:
            unanswered = [sent for sent in history.commands if not sent.answers]
            for sent in unanswered:
                op, args = sent.singles[0]
                self._open.setdefault((op, args["id"]), []).append(sent)
            if unanswered:
                self._histories.append(history)

    def narrow(self) -> None:
        """Take into account what was found meanwhile."""
        for history in self._histories:
            for sent, bounds in bounds_of(history, self._last_rev):
                self._bounds[id(sent)] = bounds

    def around(self, row: Any) -> list[Sent]:
        """Those whose place in the order, and whose first op and id, are those of the change."""
        rev, op, session_id, message_id, _ = row
        found = self._open.get((op, message_id or session_id), [])
        return [
            sent for sent in found if self._bounds[id(sent)][0] < rev < self._bounds[id(sent)][1]
        ]

    def skipped(self, sent: Sent) -> int:
        """How many of the same client in front of it would have been refused."""
        return sum(
            other.client == sent.client and other.number < sent.number
            for others in self._open.values()
            for other in others
        )

    def remove(self, sent: Sent) -> None:
        op, args = sent.singles[0]
        self._open[op, args["id"]].remove(sent)


def _is_of(row: Any, op: str, args: Args) -> bool:
    """Whether a row of the feed can be this command's."""
    _, row_op, session_id, message_id, _ = row
    if op != row_op:
        return False
    if op.startswith("session."):
        return session_id == args["id"] and message_id is None
    return message_id == args["id"] and args.get("session_id", session_id) == session_id


def _blurred(args: Args) -> Args:
    blurring = {"name", "status", "working_dir", "role", "content"}
    return {key: ANY if key in blurring else value for key, value in args.items()}
