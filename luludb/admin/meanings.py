"""What each status figure means: its kind, its unit, and a sentence for the documentation."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """How a figure moves."""

    LABEL = "text"  # says what runs, and does not count
    GAUGE = "gauge"
    COUNTER = "counter"  # from 0 at the start of the daemon
    PERCENTILES = "percentiles"  # of the last 60 s
    TIME = "time"  # RFC 3339, or null


class Meaning(NamedTuple):
    """One figure, or the three percentiles whose names begin with `name`."""

    name: str
    kind: Kind
    unit: str
    sentence: str


MEANINGS: Final = (
    Meaning("version", Kind.LABEL, "", "The version of luludb that runs."),
    Meaning("protocol", Kind.LABEL, "", "The wire protocol that it speaks."),
    Meaning("pid", Kind.LABEL, "", "The daemon's process."),
    Meaning("uptime_s", Kind.GAUGE, "seconds", "How long the daemon has been running."),
    Meaning("home", Kind.LABEL, "", "The directory that holds everything."),
    Meaning("database_id", Kind.LABEL, "", "Random; a restored database gets a new one."),
    Meaning("boot_id", Kind.LABEL, "", "Random; new at each start of the daemon."),
    Meaning("schema_version", Kind.LABEL, "", "The version of the tables, `PRAGMA user_version`."),
    Meaning("sqlite_version", Kind.LABEL, "", "The SQLite that writes."),
    Meaning("durability", Kind.LABEL, "", "What an acknowledged write survives: normal or full."),
    Meaning("first_rev", Kind.GAUGE, "", "The oldest change that is kept."),
    Meaning("last_rev", Kind.GAUGE, "", "The newest change."),
    Meaning("clients", Kind.GAUGE, "", "Clients that are registered, those gone included."),
    Meaning("connections", Kind.GAUGE, "", "Connections to the command socket."),
    Meaning("commands_total", Kind.COUNTER, "", "Commands that were decided, refused ones too."),
    Meaning("commands_refused_total", Kind.COUNTER, "", "Commands that were refused."),
    Meaning("duplicates_total", Kind.COUNTER, "", "Repeated commands, answered as the first time."),
    Meaning("batches_total", Kind.COUNTER, "", "Transactions that were committed."),
    Meaning("batch_commands", Kind.PERCENTILES, "commands", "Commands in one transaction."),
    Meaning("commit_ms", Kind.PERCENTILES, "milliseconds", "How long COMMIT took."),
    Meaning(
        "queue_wait_ms",
        Kind.PERCENTILES,
        "milliseconds",
        "How long the oldest waiting command may have waited for its turn.",
    ),
    Meaning("wal_bytes", Kind.GAUGE, "bytes", "The size of the write-ahead log's file."),
    Meaning("checkpoints_total", Kind.COUNTER, "", "How often the log was copied back."),
    Meaning("last_checkpoint", Kind.TIME, "seconds", "When the log was last copied back."),
    Meaning(
        "foreign_writer_waits_total",
        Kind.COUNTER,
        "",
        "Waits for another program that held the write lock.",
    ),
    Meaning("dropped_frames_total", Kind.COUNTER, "", "Messages that were no request at all."),
    Meaning("open_files", Kind.GAUGE, "", "File descriptors that the daemon has open."),
    Meaning("rss_bytes", Kind.GAUGE, "bytes", "The daemon's resident memory."),
)
PERCENTILES: Final = (("p50", "0.5"), ("p99", "0.99"), ("max", "1"))
"""The ends of the names of percentiles, each with its quantile."""


def figure_names(meaning: Meaning) -> tuple[str, ...]:
    """The names that stand for `meaning` in a status reply."""
    if meaning.kind is Kind.PERCENTILES:
        return tuple(f"{meaning.name}_{end}" for end, _ in PERCENTILES)
    return (meaning.name,)
