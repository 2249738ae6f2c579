"""Figures as a person reads them."""

from luludb.cli.figures import readable


def test_the_percentiles_of_a_figure_share_a_line():
    found = {"commit_ms_p50": 0.5, "commit_ms_p99": 1.25, "commit_ms_max": 1000.0}

    assert list(readable(found)) == [("commit_ms", "p50 0.50   p99 1.25   max 1,000.00")]


def test_units_are_read_from_the_name():
    found = {
        "wal_bytes": 5 << 20,
        "rss_bytes": 12,
        "uptime_s": 90061,
        "commands_total": 1234567,
        "pid": 24822,
        "last_checkpoint": None,
        "home": "/a",
    }

    assert dict(readable(found)) == {
        "wal_bytes": "5.0 MiB",
        "rss_bytes": "12 bytes",
        "uptime_s": "1 d 1 h",
        "commands_total": "1,234,567",
        "pid": "24822",
        "last_checkpoint": "none",
        "home": "/a",
    }
