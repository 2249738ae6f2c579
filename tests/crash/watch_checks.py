"""Holds what watchers wrote down against the feed as a daemon that has stopped left it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.crash.watchers import Notes, Row
from tests.databases import query

UNTOLD = "SELECT id FROM messages EXCEPT SELECT message_id FROM lulu_changes"
Span = tuple[float, float]
"""From one moment to another, in seconds of the wall clock."""


def deviations(notes: Notes, session_id: str | None, rows: Sequence[Row]) -> list[str]:
    """In what `notes` differ from what a watcher of that session, or of all, was to be given."""
    given = notes.given
    if not given:
        return ["was given nothing"]
    # One that began with the newest change knows the place only as nearly as it could look.
    start = min(max(notes.before_rev, given[0][0] - 1), notes.after_rev)
    wanted = [row for row in rows if row[0] > start and session_id in (None, row[2])]
    if given == wanted:
        return []
    pairs = enumerate(zip(given, wanted, strict=False))
    place = next((at for at, (one, other) in pairs if one != other), min(len(given), len(wanted)))
    found, missing = given[place : place + 1], wanted[place : place + 1]
    counts = f"was given {len(given)} changes of {len(wanted)} behind rev {start}"
    return [f"{counts}; in place {place} {found or 'none'} instead of {missing or 'none'}"]


def deviations_of_feed(database: Path, rows: Sequence[Row], changes: int) -> list[str]:
    """What is wrong with the feed itself, which is to have so many `changes` or more."""
    findings = []
    if [row[0] for row in rows] != list(range(1, len(rows) + 1)):
        findings.append("the feed's revs are not 1, 2, 3, …")
    if len(rows) < changes:
        findings.append(f"the feed has {len(rows)} changes instead of {changes} and more")
    if untold := query(database, UNTOLD):
        findings.append(f"the feed tells nothing of {len(untold)} messages")
    return findings


def longest_lag_s(notes: Notes, at_s: Mapping[int, float], away_s: Sequence[Span]) -> float:
    """The longest time from a change to its being given, or from the watcher's beginning.

    Args:
        notes: of one watcher.
        at_s: when each rev was written.
        away_s: the times that do not count; they may overlap.
    """
    longest_s = 0.0
    for (rev, *_), given_s in zip(notes.given, notes.given_s, strict=True):
        since_s = max(at_s[rev], notes.begun_s[0])
        if given_s - since_s > longest_s:
            longest_s = max(longest_s, given_s - since_s - _covered_s(since_s, given_s, away_s))
    return longest_s


def _covered_s(begins_s: float, ends_s: float, spans: Sequence[Span]) -> float:
    """How much of the time from one moment to another lies in `spans`."""
    covered_s = 0.0
    for since_s, until_s in sorted(spans):
        begins_s = max(begins_s, since_s)
        if begins_s < min(until_s, ends_s):
            covered_s += min(until_s, ends_s) - begins_s
            begins_s = min(until_s, ends_s)
    return covered_s
