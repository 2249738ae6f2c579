"""What a client has seen of the database, and what a hello's reply says against it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Hello(NamedTuple):
    """The parts of a hello's reply that a client judges."""

    registered: bool
    protocol: int
    database_id: str
    last_seq: int
    last_rev: int


def read_hello(body: dict[str, Any]) -> Hello | None:
    """The hello in a reply's body; None where a part is missing or of another type."""
    match body:
        case {
            "registered": bool(registered),
            "protocol": int(protocol),
            "database_id": str(database_id),
            "last_seq": int(last_seq),
            "last_rev": int(last_rev),
        }:
            return Hello(registered, protocol, database_id, last_seq, last_rev)
        case {"protocol": int(protocol)}:
            return Hello(False, protocol, "", 0, 0) if protocol != 1 else None
    return None


class Seen:
    """What was seen so far. A database that lacks some of it has lost writes.

    Attributes:
        is_registered: whether a hello of this client_id was answered.
    """

    __slots__ = ("_database_id", "_rev", "_seq", "is_registered")

    def __init__(self) -> None:
        self._database_id: str | None = None
        self._rev = 0
        self._seq = 0
        self.is_registered = False

    def kept(self, seq: int, body: dict[str, Any]) -> None:
        """Note a kept reply."""
        if seq > self._seq:
            self._seq = seq
        rev = body.get("rev")
        if type(rev) is int and rev > self._rev:
            self._rev = rev

    def loss(self, hello: Hello) -> str | None:
        """What was lost, as a message; None where nothing was."""
        if self._database_id not in (None, hello.database_id):
            return (
                f"database is {hello.database_id} and was {self._database_id}: a backup was"
                " restored, or lulu.db was replaced. Read what is there and go on with a new Client"
            )
        if hello.last_rev < self._rev:
            return (
                f"database ends at rev {hello.last_rev} and {self._rev} was seen: acknowledged"
                " writes were lost. Read what is there and go on with a new Client"
            )
        if not hello.registered and hello.last_seq < self._seq:
            return (
                f"database ends at seq {hello.last_seq} of this client and {self._seq} was"
                " acknowledged: acknowledged writes were lost. Read what is there and go on with"
                " a new Client"
            )
        return None

    def judged(self, hello: Hello) -> None:
        """Note a hello that was found good."""
        self._database_id = hello.database_id
        self._rev = max(self._rev, hello.last_rev)
        self.is_registered = True

    def forgotten(self) -> None:
        """A new client_id begins; the database is the same."""
        self._seq = 0
        self.is_registered = False
