"""Checks of the database, on what a process of its own found in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from luludb.admin.doctor.finding import Finding, Level, luludb_command, sqlite_command
from luludb.admin.doctor.inspection import Inspection
from luludb.admin.doctor.situation import Situation
from luludb.limits import CLIENTS_IN_MEMORY_MAX, CLOCK_AHEAD_S_MAX, FREE_PAGES_BYTES_MIN

_BUG_BEGAN: Final = (3, 7, 0)  # sqlite.org/wal.html#walresetbug
_BUG_FIXED: Final = (3, 51, 3)


def check_sqlite(_: Situation, found: Inspection) -> Iterator[Finding]:
    """Versions inside the range of the WAL-reset bug can corrupt a database that they write to."""
    if found.library and _has_the_bug(found.library):
        yield Finding(
            Level.PROBLEM,
            "SQLite",
            f"apsw brings SQLite {found.library}, which can corrupt a database in WAL mode; a"
            " daemon refuses to start with it",
            "pip install --upgrade apsw",
        )
    elif _has_the_bug(sqlite3.sqlite_version):
        yield Finding(
            Level.NOTE,
            "SQLite",
            f"the daemon's is {found.library}. This Python's sqlite3 is {sqlite3.sqlite_version},"
            " which can corrupt a database in WAL mode that it writes to. luludb's clients only"
            " read with it, which is safe: write through luludb, and open lulu.db with mode=ro",
        )
    else:
        yield Finding(Level.OK, "SQLite", f"{found.library}, and {sqlite3.sqlite_version} to read")


def check_readable(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """Whether it is a database that a daemon takes, and that can be read."""
    if found.is_busy:
        yield Finding(
            Level.PROBLEM,
            "database",
            f"{situation.home.database} cannot be read: {found.failure}; another program keeps it"
            " locked. End it",
            f"lsof {situation.quoted_database}",
        )
    elif found.failure is not None:
        yield Finding(
            Level.PROBLEM,
            "database",
            f"{situation.home.database} cannot be read: {found.failure}. Look at its permissions"
            " and at the disk",
            "dmesg | tail",
        )
    elif found.refusal is not None:
        yield Finding(
            Level.PROBLEM,
            "database",
            f"a daemon refuses to start: {found.refusal}",
            f"mv {situation.quoted_database} {situation.quoted_database}.other"
            f" && {luludb_command(situation.home, 'start')}",
        )
    elif not found.damage:
        made = "" if found.version else "; the next daemon takes it over, with every row"
        yield Finding(
            Level.OK if found.version else Level.NOTE,
            "database",
            f"{found.total_bytes / (1 << 20):,.1f} MiB, schema version {found.version}{made}",
        )


def check_damage(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """What SQLite's own check says."""
    if found.damage:
        more = "" if len(found.damage) == 1 else f" (and {len(found.damage) - 1} more)"
        yield Finding(
            Level.PROBLEM,
            "integrity",
            f"{situation.home.database} is damaged: {found.damage[0]}{more}. Stop the daemon and"
            " restore a backup; without one, move it away and have `luludb import` read past the"
            " damage (docs/operations.md, Last resort)",
            luludb_command(situation.home, "restore", "BACKUP"),
        )
    elif found.damage is not None:
        yield Finding(Level.OK, "integrity", "checked, and whole")


def check_indexes(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """Reads name the index that they use, and fail without it."""
    for statement in found.repairs or ():
        yield Finding(
            Level.PROBLEM,
            "indexes",
            "an index is missing that another program dropped; reads fail or take long without it",
            sqlite_command(situation.home, statement),
        )


def check_triggers(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """A trigger runs at each append, and may leave a row out."""
    for name in found.triggers or ():
        statement = f'DROP TRIGGER "{name}"'
        yield Finding(
            Level.WARNING,
            "triggers",
            f"another program added the trigger {name}, which runs inside each commit: appends are"
            " slower, and nobody's row is sure to be stored as it was sent",
            sqlite_command(situation.home, statement),
        )


def check_foreign_tables(_: Situation, found: Inspection) -> Iterator[Finding]:
    """Tables of other programs mean that others write to the file."""
    if found.foreign_tables:
        yield Finding(
            Level.NOTE,
            "tables",
            f"other programs have tables in it: {', '.join(found.foreign_tables)}. luludb leaves"
            " them alone, and backups hold them",
        )


def check_orphans(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """Messages whose session does not exist are in no session's list, and in no export."""
    if found.orphans:
        session_id = str(found.orphaned_session)
        yield Finding(
            Level.WARNING,
            "orphans",
            f"messages whose session does not exist: {found.orphans:,}, of session {session_id}"
            " for one. A program without foreign keys left them; no export has them. A session of"
            " that id brings them back",
            luludb_command(situation.home, "session", "create", "recovered", "--id", session_id),
        )
    elif found.is_counted:
        yield Finding(Level.OK, "orphans", "none")


def check_clock(_: Situation, found: Inspection) -> Iterator[Finding]:
    """A clock that went back gives new rows times before those of older ones."""
    latest = datetime.now(UTC) + timedelta(seconds=CLOCK_AHEAD_S_MAX)
    if found.last_at is None:
        return
    if found.last_at > latest.isoformat(timespec="microseconds"):
        yield Finding(
            Level.WARNING,
            "clock",
            f"the last change was made at {found.last_at}, which is in the future: the clock was"
            " set back, and sessions are listed in a wrong order. The order of messages is right",
            "timedatectl set-ntp true",
        )
    else:
        yield Finding(Level.OK, "clock", f"last change at {found.last_at[:19]}Z")


def check_ledger(_: Situation, found: Inspection) -> Iterator[Finding]:
    """Each client id that was ever used is kept for a while, with its replies."""
    size = f", {found.reply_bytes / (1 << 20):,.1f} MiB of kept replies" if found.is_counted else ""
    text = f"{found.clients:,} clients{size}"
    if found.clients > CLIENTS_IN_MEMORY_MAX:
        yield Finding(
            Level.NOTE,
            "ledger",
            f"{text}: more than the daemon holds in memory ({CLIENTS_IN_MEMORY_MAX:,}). Programs"
            " make a Client for each write; one that is kept is faster, and client_days_kept"
            " says for how long they are remembered",
        )
    elif found.version:
        yield Finding(Level.OK, "ledger", text)


def check_changes(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """The feed's retention."""
    kept_max = situation.settings.changes_kept_max
    if found.version:
        excess = found.changes_kept > kept_max
        more = "; older ones go with the next commands" if excess else ""
        yield Finding(
            Level.OK, "changes", f"{found.changes_kept:,} kept of at most {kept_max:,}{more}"
        )


def check_free_pages(situation: Situation, found: Inspection) -> Iterator[Finding]:
    """Room in the file that deleted rows left."""
    if found.free_bytes >= max(FREE_PAGES_BYTES_MIN, found.total_bytes // 4):
        yield Finding(
            Level.NOTE,
            "free pages",
            f"{found.free_bytes:,} of {found.total_bytes:,} bytes are left by deleted rows; new"
            " ones fill them, or compact gives them back to the disk",
            luludb_command(situation.home, "compact"),
        )


def _has_the_bug(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".")[:3])
    return _BUG_BEGAN <= numbers < _BUG_FIXED
