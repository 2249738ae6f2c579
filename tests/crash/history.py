"""Holds what clients recorded of their requests and replies against what the database has.

A history is a file of JSON lines, each written by one call of the operating system, so that it
holds what had happened even where its client was killed:

    ["q", number, op, args]       a command, in the order in which the client sent them
    ["a", number, status, body]   a reply; the same command may have several
    ["e", number, code]           the client was told something that is no outcome
    ["end"]                       the client came to its end

Nothing is taken from the daemon: the feed is replayed, in the order of its revs, with the commands
of the histories, and the result has to be the tables as they are.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from luludb.limits import NAME_CHARACTERS_MAX

Args = dict[str, Any]
Row = dict[str, Any]
ANY = object()
"""Stands for a column that one of several unanswered commands set, no one knows which."""
FINDINGS_SHOWN_MAX = 20


@dataclass(slots=True)
class Sent:
    """One command as its client saw it. `singles` are its (op, args): several in a transaction."""

    client: int
    number: int
    op: str
    args: Args
    answers: list[tuple[int, Row]] = field(default_factory=list)
    revs: list[int] = field(default_factory=list)

    @property
    def singles(self) -> list[tuple[str, Args]]:
        if self.op == "transaction":
            return [(op, args) for op, args in self.args["commands"]]
        return [(self.op, self.args)]

    def __str__(self) -> str:
        return f"command {self.number} of client {self.client}, {self.op}"


@dataclass(slots=True)
class History:
    """What one client recorded."""

    client: int
    commands: list[Sent] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    is_ended: bool = False


@dataclass(slots=True)
class Report:
    """What was found; `findings` is empty where every promise was kept."""

    findings: list[str] = field(default_factory=list)
    commands: int = 0
    answered: int = 0
    answered_again: int = 0
    refused: int = 0
    unanswered: int = 0
    unanswered_applied: int = 0
    ambiguous: int = 0
    changes: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def find(self, what: str) -> None:
        """Add a finding, cut to a length that can be read."""
        self.findings.append(what if len(what) < 400 else f"{what[:200]} … {what[-200:]}")

    def __str__(self) -> str:
        found = "; ".join(self.findings[:FINDINGS_SHOWN_MAX]) or "all is as it was promised"
        return (
            f"{self.commands} commands, {self.answered} answered ({self.refused} refused,"
            f" {self.answered_again} answered again), {self.unanswered} unanswered"
            f" ({self.unanswered_applied} of them applied, {self.ambiguous} ambiguous),"
            f" {self.changes} changes: {len(self.findings)} findings: {found}"
        )


class Recorder:
    """Appends to one history; several threads may, since each line is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, *line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read_history(path: Path, client: int) -> History:
    """The history at `path`. What a killed client left of its last line is not counted."""
    history = History(client)
    by_number: dict[int, Sent] = {}
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            match json.loads(line):
                case ["q", number, op, args]:
                    by_number[number] = Sent(client, number, op, args)
                    history.commands.append(by_number[number])
                case ["a", number, status, body]:
                    by_number[number].answers.append((status, body))
                case ["e", number, code]:
                    history.errors[f"{code} (of command {number})" if number else code] += 1
                case ["end"]:
                    history.is_ended = True
    return history


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
        self._model = _Model(report)
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
            bounds = {id(sent): bound for sent, bound in _bounds_of(history, self._last_rev)}
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
            for sent, bounds in _bounds_of(history, self._last_rev):
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


class _Model:
    """The two tables as the feed builds them, and when each id was there."""

    def __init__(self, report: Report) -> None:
        self.sessions: dict[str, Row] = {}
        self.messages: dict[str, Row] = {}
        self._lives: dict[tuple[str, str], list[list[int]]] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._report = report

    def apply(self, row: Any, op: str, args: Args, result: Row, sent: str) -> None:
        """Apply one change, and hold the command's reply against what it does."""
        rev, _, session_id, message_id, at = row
        problem = None
        match op:
            case "session.create":
                problem = self._create(rev, at, args)
                self._hold(result.get("session"), self.sessions.get(session_id), sent)
            case "session.update":
                problem = self._update(session_id, at, args)
                self._hold(result.get("session"), self.sessions.get(session_id), sent)
            case "session.delete":
                count = len(self._members.get(session_id, {}))
                if result.get("deleted_messages", count) != count:
                    problem = f"it deleted {result}, and there were {count}"
                problem = self._remove_session(rev, session_id) or problem
            case "message.append":
                problem = self._append(rev, at, args)
                self._hold(result.get("message"), self.messages.get(args["id"]), sent)
            case "message.update":
                problem = self._set(message_id, session_id, args)
                self._hold(result.get("message"), self.messages.get(message_id), sent)
            case "message.delete":
                problem = self._remove_message(rev, message_id, session_id)
        if problem:
            self._report.find(f"rev {rev}, {sent}: {problem}")

    def _hold(self, told: Row | None, is_now: Row | None, sent: str) -> None:
        wrong = told and is_now and {k for k, v in told.items() if is_now[k] not in (v, ANY)}
        if wrong:
            self._report.find(f"{sent} was told {told}, and it is {is_now}")

    def _create(self, rev: int, at: str, args: Args) -> str | None:
        if args["id"] in self.sessions:
            return "the session was there already"
        row = {"id": args["id"], "name": args["name"], "status": args.get("status", "created")}
        times = {"created_at": at, "updated_at": at}
        self.sessions[args["id"]] = {**row, "working_dir": args["working_dir"], **times}
        self._members[args["id"]] = {}
        self._begin(rev, "session", args["id"])
        return None

    def _update(self, session_id: str, at: str, args: Args) -> str | None:
        if session_id not in self.sessions:
            return "there was no such session"
        changed = {key: value for key, value in args.items() if key != "id"}
        self.sessions[session_id].update(changed, updated_at=at)
        return None

    def _remove_session(self, rev: int, session_id: str) -> str | None:
        if self.sessions.pop(session_id, None) is None:
            return "there was no such session"
        for message_id in self._members.pop(session_id):
            del self.messages[message_id]
            self._end(rev, "message", message_id)
        self._end(rev, "session", session_id)
        return None

    def _append(self, rev: int, at: str, args: Args) -> str | None:
        if args["session_id"] not in self.sessions:
            return "there was no such session"
        if args["id"] in self.messages:
            return "the message was there already"
        self.messages[args["id"]] = {
            **{key: args[key] for key in ("id", "session_id", "role", "content")},
            "timestamp": at,
        }
        self._members[args["session_id"]][args["id"]] = None
        self._begin(rev, "message", args["id"])
        return None

    def _set(self, message_id: str, session_id: str, args: Args) -> str | None:
        if self.messages.get(message_id, {}).get("session_id") != session_id:
            return "there was no such message in that session"
        self.messages[message_id]["content"] = args["content"]
        return None

    def _remove_message(self, rev: int, message_id: str, session_id: str) -> str | None:
        if self.messages.pop(message_id, {}).get("session_id") != session_id:
            return "there was no such message in that session"
        del self._members[session_id][message_id]
        self._end(rev, "message", message_id)
        return None

    def _begin(self, rev: int, kind: str, id: str) -> None:
        self._lives.setdefault((kind, id), []).append([rev])

    def _end(self, rev: int, kind: str, id: str) -> None:
        self._lives[kind, id][-1].append(rev)

    def may_be(self, code: str, op: str, args: Args, after: int, before: int) -> bool:
        """Whether `op` may be refused so, behind rev `after` and in front of rev `before`."""
        match code, op:
            case "not_found", "message.append":
                return not self._is_there_throughout("session", args["session_id"], after, before)
            case "not_found", "session.update" | "session.delete":
                return not self._is_there_throughout("session", args["id"], after, before)
            case "not_found", "message.update" | "message.delete":
                return not self._is_there_throughout("message", args["id"], after, before)
            case "already_exists", "session.create":
                return self._is_ever_there("session", args["id"], after, before)
            case "already_exists", "message.append":
                return self._is_ever_there("message", args["id"], after, before)
            case "unknown_op", _:
                return op == "session.explode"
            case "invalid", _:
                return args.get("role") == "" or len(args.get("name", "")) > NAME_CHARACTERS_MAX
        return False

    def _is_there_throughout(self, kind: str, id: str, after: int, before: int) -> bool:
        lives = self._lives.get((kind, id), [])
        at = bisect.bisect_right(lives, [after, self._END]) - 1
        return at >= 0 and (len(lives[at]) == 1 or lives[at][1] > before - 1)

    def _is_ever_there(self, kind: str, id: str, after: int, before: int) -> bool:
        lives = self._lives.get((kind, id), [])
        return any(life[0] < before and (len(life) == 1 or life[1] > after) for life in lives)

    _END = 1 << 62


def _bounds_of(history: History, last_rev: int) -> list[tuple[Sent, tuple[int, int]]]:
    """For each command the last rev of those before it and the first rev of those behind it."""
    behind = last_rev + 1
    bounds = []
    for sent in reversed(history.commands):
        bounds.append((sent, behind))
        behind = min([behind, *sent.revs])
    after = 0
    found = []
    for sent, before in reversed(bounds):
        found.append((sent, (after, before)))
        after = max([after, *sent.revs])
    return found


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
