"""The two tables as the change feed builds them, and what the history checker found on the way."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from luludb.limits import NAME_CHARACTERS_MAX
from tests.crash.history_records import Args, Row

ANY = object()
"""Stands for a column that one of several unanswered commands set, no one knows which."""
FINDINGS_SHOWN_MAX = 20


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


class Model:
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
