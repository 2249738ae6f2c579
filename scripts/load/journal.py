"""What one writer noted: each row before it was sent, and each answer when it came.

A journal is a file of lines, each written by one call of the operating system, so that it holds
what had happened even where the writer was killed:

    s ID DIGEST              a session was sent
    m ID SESSION_ID DIGEST   a message was sent
    a ID LATENCY_US          the row was acknowledged
    e ID CODE                the call failed, with the code of its error
    t BEGAN ENDED            the writer began and ended, in seconds of the machine's monotonic clock

Lines are in the order in which the writer sent. Ids and codes have no white space in them.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

DIGEST_BYTES = 16
LOCKED = "database_is_locked"
ANSWERLESS = frozenset({"outcome_unknown", "killed"})
"""Codes after which the row may be there or not."""


def digest_of(*columns: str) -> str:
    """A digest of a row's columns, the id left out: a row written twice has it twice."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for column in columns:
        value = column.encode()
        digest.update(b"%d:" % len(value))
        digest.update(value)
    return digest.hexdigest()


class JournalWriter:
    """Appends to one journal; several threads may, since each line is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def session_sent(self, id: str, *, digest: str) -> None:
        os.write(self._file, f"s {id} {digest}\n".encode())

    def message_sent(self, id: str, *, session_id: str, digest: str) -> None:
        os.write(self._file, f"m {id} {session_id} {digest}\n".encode())

    def acknowledged(self, id: str, latency_s: float) -> None:
        os.write(self._file, f"a {id} {round(latency_s * 1e6)}\n".encode())

    def failed(self, id: str, code: str) -> None:
        os.write(self._file, f"e {id} {'_'.join(code.split())}\n".encode())

    def times(self, *, began_s: float, ended_s: float) -> None:
        os.write(self._file, f"t {began_s!r} {ended_s!r}\n".encode())


@dataclass(slots=True)
class Journal:
    """What a writer noted.

    Attributes:
        sessions: digest by id, in the order sent.
        messages: (session id, digest) by id, in the order sent.
        acknowledged: latency in microseconds by id, of sessions and messages.
        errors: code by id.
        retried: codes of failed attempts at rows that were acknowledged later.
        began_s: None where the writer did not come to its end.
    """

    sessions: dict[str, str] = field(default_factory=dict)
    messages: dict[str, tuple[str, str]] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    retried: Counter[str] = field(default_factory=Counter)
    began_s: float | None = None
    ended_s: float | None = None

    def message_latencies_us(self) -> list[int]:
        """Latencies of the acknowledged messages, in the order of the answers."""
        return [us for row_id, us in self.acknowledged.items() if row_id in self.messages]


def read_journal(path: Path) -> Journal:
    """The journal at `path`. What a killed writer left of its last line is not counted.

    Raises:
        ValueError: a line is not of the form above.
    """
    journal = Journal()
    with path.open(encoding="ascii", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                break
            match line.split():
                case ["s", id, digest]:
                    journal.sessions[id] = digest
                case ["m", id, session_id, digest]:
                    journal.messages[id] = (session_id, digest)
                case ["a", id, latency_us]:
                    journal.acknowledged[id] = int(latency_us)
                    if id in journal.errors:
                        journal.retried[journal.errors.pop(id)] += 1
                case ["e", id, code]:
                    if id in journal.errors:
                        journal.retried[journal.errors[id]] += 1
                    journal.errors[id] = code
                case ["t", began_s, ended_s]:
                    journal.began_s, journal.ended_s = float(began_s), float(ended_s)
                case _:
                    raise ValueError(f"line {number} of journal {path} is {line!r}")
    return journal
