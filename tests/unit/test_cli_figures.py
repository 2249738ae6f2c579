"""Figures as a person reads them."""

from datetime import UTC, datetime, timedelta

import pytest

from luludb.cli.figures import Disk, readable
from luludb.cli.quantities import (
    ago_text,
    bytes_text,
    count_text,
    counted,
    duration_text,
    rate_text,
)
from tests.unit.status import FIGURES

DISK = Disk(database_bytes=680 << 20, free_bytes=120 << 30)


def test_status_fits_a_terminal_of_24_lines_and_80_columns():
    lines = list(readable(FIGURES, DISK))

    label = max(len(name) for name, _ in lines)
    assert len(lines) <= 22  # and the command itself, and a prompt
    assert max(label + 2 + len(value) for _, value in lines) <= 80


def test_status_says_what_runs_how_it_does_and_what_is_stored():
    text = "\n".join(f"{name}  {value}" for name, value in readable(FIGURES, DISK))

    for part in (
        "running for 1 d 1 h, pid 24822",
        "full: what is acknowledged survives a loss of power",
        "commands  1,234,567, of them 12 refused; 3 sent again",
        "batch size           8        64       256",
        "commit ms        0.50      1.25  1,000.00",
        "680.0 MiB, and 5.0 MiB of write-ahead log",
        "120.0 GiB free",
        "rev 7 to 1,234,999",
        "12 now; 40 clients are known",
        "1 wait for another program's lock, 0 frames dropped",
        "checkpoints  0, none yet",
    ):
        assert part in text


def test_sizes_that_cannot_be_known_are_unknown():
    lines = dict(readable(FIGURES, Disk(None, None)))

    assert lines["disk"] == "unknown free"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (61, "1 min 1 s"), (7200, "2 h 0 min"), (90061, "1 d 1 h")],
)
def test_a_duration_has_its_two_greatest_units(seconds, text):
    assert duration_text(seconds) == text


def test_sizes_and_counts_have_their_units():
    assert (bytes_text(12), bytes_text(5 << 20)) == ("12 bytes", "5.0 MiB")
    assert (counted(1, "session"), counted(2000, "session")) == ("1 session", "2,000 sessions")
    assert (count_text(1234), count_text(None)) == ("1,234", "none")
    assert (rate_text(0), rate_text(0.25), rate_text(1234.5)) == ("0", "0.2", "1,234")


def test_a_moment_is_told_by_how_long_ago_it_was():
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert ago_text((now - timedelta(seconds=90)).isoformat(), now) == "1 min 30 s ago"
    assert ago_text((now - timedelta(seconds=4.6)).isoformat(), now) == "5 s ago"
    assert ago_text((now + timedelta(seconds=90)).isoformat(), now) == "just now"


@pytest.mark.parametrize("moment", ["yesterday", "2026-01-02T03:04:05", ""])
def test_a_time_of_another_program_that_is_none_stays_as_it_is(moment):
    assert ago_text(moment) == moment
