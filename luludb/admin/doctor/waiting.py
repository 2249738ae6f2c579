"""Checks of what keeps the writer waiting: the write-ahead log's length, and foreign locks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from luludb.admin.doctor.finding import Finding, Level
from luludb.admin.doctor.situation import Situation
from luludb.limits import DOCTOR_LOOK_ATTEMPTS_MAX, DOCTOR_LOOK_S
from luludb.platform import (
    READ_LOCK_BYTES,
    WRITE_LOCK_BYTE,
    described_process,
    lock_holders,
)


def check_log(situation: Situation) -> Iterator[Finding]:
    """A log that a reader keeps from beginning anew grows up to its bound."""
    wal_bytes = _wal_bytes(situation)
    wal_bytes_max = situation.settings.wal_bytes_max
    if wal_bytes < wal_bytes_max // 4:
        found = f"{wal_bytes:,} bytes of write-ahead log, of {wal_bytes_max:,}"
        yield Finding(Level.OK, "wal", found)
        return
    readers = _others(situation, *READ_LOCK_BYTES)
    is_full = wal_bytes >= wal_bytes_max
    effect = "new commands are refused as overloaded" if is_full else "commands are then refused"
    if readers:
        why = f"{', '.join(map(described_process, readers))} reads and keeps it from shrinking"
        remedy = f"kill {readers[0]}"
    else:
        why = "the daemon empties it as soon as no program reads an old state"
        remedy = f"lsof {situation.quoted_database}"
    yield Finding(
        Level.PROBLEM if is_full else Level.WARNING,
        "wal",
        f"the write-ahead log has {wal_bytes:,} bytes of at most {wal_bytes_max:,}; {effect}."
        f" {why}. End its transaction, or the program",
        remedy,
    )


def check_write_lock(situation: Situation) -> Iterator[Finding]:
    """A program that writes past the daemon makes everyone wait."""
    holding = set(_others(situation, WRITE_LOCK_BYTE, WRITE_LOCK_BYTE))
    for _ in range(DOCTOR_LOOK_ATTEMPTS_MAX - 1):
        if not holding:
            return
        time.sleep(DOCTOR_LOOK_S)
        holding &= set(_others(situation, WRITE_LOCK_BYTE, WRITE_LOCK_BYTE))
    for pid in sorted(holding):
        yield Finding(
            Level.PROBLEM,
            "write lock",
            f"{described_process(pid)} holds the write lock of lulu.db and is not the daemon:"
            " commands wait for it and end as busy. Let it write through luludb, or end it",
            f"kill {pid}",
        )


def _others(situation: Situation, first_byte: int, last_byte: int) -> list[int]:
    holders = lock_holders(situation.home.shared_memory, first_byte, last_byte)
    return [pid for pid in holders if pid not in situation.daemon_pids]


def _wal_bytes(situation: Situation) -> int:
    try:
        return situation.home.wal.stat().st_size
    except FileNotFoundError:
        return 0
