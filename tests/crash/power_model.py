"""What the tables must hold after each batch, said without SQL: a second opinion on the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, or hello with seq 0, as it was sent."""

    client_id: bytes
    seq: int
    op: str
    args: dict[str, Any]


@dataclass(slots=True)
class Model:
    """The rows of one moment.

    Attributes:
        clients: the last seq of each registered client.
        sessions: the status of each session by id.
        messages: session and content of each message by id, in the order of appending.
        changes: op, session and message of each change, in rev order.
    """

    clients: dict[bytes, int] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    messages: dict[str, tuple[str, str]] = field(default_factory=dict)
    changes: list[tuple[str, str, str | None]] = field(default_factory=list)

    def apply(self, step: Step) -> str:
        """Apply one command or hello. Returns `done` or the code of its refusal."""
        self.clients[step.client_id] = step.seq
        if step.op == "hello":
            return DONE
        if step.op == "transaction":
            return self._transaction(step.args["commands"])
        return self._single(step.op, step.args)

    def _transaction(self, commands: list[Any]) -> str:
        before = dict(self.sessions), dict(self.messages), list(self.changes)
        for op, args in commands:
            verdict = self._single(op, args)
            if verdict != DONE:
                self.sessions, self.messages, self.changes = before
                return verdict
        return DONE

    def _single(self, op: str, args: dict[str, Any]) -> str:
        match op:
            case "session.create":
                return self._create(args["id"])
            case "session.update":
                return self._update_session(args["id"], args["status"])
            case "session.delete":
                return self._delete_session(args["id"])
            case "message.append":
                return self._append(args["id"], args["session_id"], args["content"])
            case "message.update":
                return self._update_message(args["id"], args["content"])
        assert op == "message.delete"
        return self._delete_message(args["id"])

    def _create(self, id: str) -> str:
        if id in self.sessions:
            return "already_exists"
        self.sessions[id] = "created"
        return self._changed("session.create", id)

    def _update_session(self, id: str, status: str) -> str:
        if id not in self.sessions:
            return "not_found"
        self.sessions[id] = status
        return self._changed("session.update", id)

    def _delete_session(self, id: str) -> str:
        if self.sessions.pop(id, None) is None:
            return "not_found"
        self.messages = {key: row for key, row in self.messages.items() if row[0] != id}
        return self._changed("session.delete", id)

    def _append(self, id: str, session_id: str, content: str) -> str:
        if id in self.messages:
            return "already_exists"
        if session_id not in self.sessions:
            return "not_found"
        self.messages[id] = session_id, content
        return self._changed("message.append", session_id, id)

    def _update_message(self, id: str, content: str) -> str:
        if id not in self.messages:
            return "not_found"
        session_id, _ = self.messages[id]
        self.messages[id] = session_id, content
        return self._changed("message.update", session_id, id)

    def _delete_message(self, id: str) -> str:
        if id not in self.messages:
            return "not_found"
        session_id, _ = self.messages.pop(id)
        return self._changed("message.delete", session_id, id)

    def _changed(self, op: str, session_id: str, message_id: str | None = None) -> str:
        self.changes.append((op, session_id, message_id))
        return DONE


def found_model(connection: Any) -> Model:
    """The model that the tables of an open database hold."""
    model = Model()
    for client_id, last_seq in connection.execute(
        """SELECT client_id, (SELECT coalesce(max(last_seq), 0) FROM lulu_replies
           WHERE lulu_replies.id / 1024 = lulu_clients.id) FROM lulu_clients"""
    ):
        model.clients[bytes(client_id)] = last_seq
    model.sessions = dict(connection.execute("SELECT id, status FROM sessions").fetchall())
    for id, session_id, content in connection.execute(
        "SELECT id, session_id, content FROM messages ORDER BY rowid"
    ):
        model.messages[id] = session_id, content
    revs = connection.execute(
        "SELECT rev, op, session_id, message_id FROM lulu_changes ORDER BY rev"
    ).fetchall()
    assert [rev for rev, *_ in revs] == list(range(1, len(revs) + 1)), "revs have gaps"
    model.changes = [tuple(rest) for _, *rest in revs]
    return model
