"""Holds what the writers noted against what the database has.

Nothing here asks the daemon: the rows are read from the file, over a read-only connection of the
standard library's sqlite3, and compared with the journals.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .journal import ANSWERLESS, LOCKED, Journal, digest_of

BUSY_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Verdict:
    """What was found; all are counts of rows but `errors`, which counts failed calls by code.

    Attributes:
        sessions: sessions that were acknowledged.
        messages: messages that were acknowledged.
        lost: acknowledged, and not there.
        changed: sent, and there with other columns.
        doubled: there once more than they were sent.
        out_of_order: messages that stand behind one of their session that was sent after them.
        unexpected: there, and never sent, or their call was refused.
        unanswered_kept: there, and the writer never learned it. That is allowed.
        unfinished_writers: writers that did not come to their end.
        damage: what SQLite's own check of the file found; empty is good.
    """

    sessions: int = 0
    messages: int = 0
    lost: int = 0
    changed: int = 0
    doubled: int = 0
    out_of_order: int = 0
    unexpected: int = 0
    unanswered_kept: int = 0
    unfinished_writers: int = 0
    damage: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def lock_errors(self) -> int:
        return self.errors[LOCKED]

    @property
    def other_errors(self) -> int:
        return self.errors.total() - self.lock_errors

    @property
    def altered(self) -> int:
        """Rows that are there in a form in which nobody sent them."""
        return self.changed + self.unexpected

    @property
    def is_kept(self) -> bool:
        """Whether the database has what was acknowledged, once, in order, and nothing else."""
        wrong = self.lost + self.doubled + self.out_of_order + self.altered
        return not wrong and not self.damage

    @property
    def is_good(self) -> bool:
        """Whether that is so, and no call failed, and every writer came to its end."""
        return self.is_kept and not self.errors.total() and not self.unfinished_writers


def verify(database: Path, journals: Sequence[Journal]) -> Verdict:
    """Compare the rows of `database` with `journals`, which tell of all that was ever sent to it.

    Raises:
        sqlite3.Error: the database cannot be read.
    """
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    with contextlib.closing(connection):
        connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
        verdict = verify_rows(
            journals,
            sessions=connection.execute(_SESSIONS),
            messages=connection.execute(_MESSAGES),
        )
        found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(10)")]
        verdict.damage = [] if found == ["ok"] else found
    return verdict


def verify_rows(
    journals: Sequence[Journal],
    *,
    sessions: Iterable[tuple[str, ...]],
    messages: Iterable[tuple[str, ...]],
) -> Verdict:
    """Compare rows, however they were read, with `journals`.

    Args:
        journals: all that was ever sent.
        sessions: `(id, name, status, working_dir)`.
        messages: `(id, session_id, role, content, timestamp)`, in the order of appending.
    """
    verdict = Verdict()
    for journal in journals:
        _count_journal(verdict, journal)
    _verify_sessions(verdict, journals, sessions)
    _verify_messages(verdict, journals, messages)
    return verdict


_SESSIONS = "SELECT id, name, status, working_dir FROM sessions ORDER BY rowid"
# A session's messages are read in the order in which they were appended, which is that of rowid.
_MESSAGES = "SELECT id, session_id, role, content, timestamp FROM messages ORDER BY rowid"


def _count_journal(verdict: Verdict, journal: Journal) -> None:
    verdict.sessions += sum(row_id in journal.acknowledged for row_id in journal.sessions)
    verdict.messages += sum(row_id in journal.acknowledged for row_id in journal.messages)
    verdict.errors += Counter(journal.errors.values()) + journal.retried
    verdict.unfinished_writers += journal.ended_s is None


def _verify_sessions(
    verdict: Verdict, journals: Sequence[Journal], rows: Iterable[tuple[str, ...]]
) -> None:
    sent = {row_id: digest for journal in journals for row_id, digest in journal.sessions.items()}
    found = [(row_id, digest_of(*columns)) for row_id, *columns in rows]
    _verify_presence(verdict, journals, sent, found)


def _verify_messages(
    verdict: Verdict, journals: Sequence[Journal], rows: Iterable[tuple[str, ...]]
) -> None:
    sent: dict[str, str] = {}
    places: dict[str, int] = {}
    for journal in journals:
        for place, (row_id, (_, digest)) in enumerate(journal.messages.items()):
            sent[row_id], places[row_id] = digest, place
    found = []
    last_places: dict[str, int] = {}
    for row_id, *columns in rows:
        found.append((row_id, digest_of(*columns)))
        session_id = columns[0]
        if row_id in places:
            place = places[row_id]
            verdict.out_of_order += place < last_places.get(session_id, -1)
            last_places[session_id] = max(place, last_places.get(session_id, -1))
    _verify_presence(verdict, journals, sent, found)


def _verify_presence(
    verdict: Verdict,
    journals: Sequence[Journal],
    sent: dict[str, str],
    found: Sequence[tuple[str, str]],
) -> None:
    acknowledged = {row_id for journal in journals for row_id in journal.acknowledged}
    errors = {row_id: code for journal in journals for row_id, code in journal.errors.items()}
    digests_sent = set(sent.values())
    ids = set()
    for row_id, digest in found:
        if row_id in ids or (row_id not in sent and digest in digests_sent):
            verdict.doubled += 1
        elif row_id not in sent:
            verdict.unexpected += 1
        elif sent[row_id] != digest:
            verdict.changed += 1
        elif row_id not in acknowledged:
            refused = errors.get(row_id, "killed") not in ANSWERLESS
            verdict.unexpected += refused
            verdict.unanswered_kept += not refused
        ids.add(row_id)
    verdict.lost += sum(row_id in acknowledged and row_id not in ids for row_id in sent)
