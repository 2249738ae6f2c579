"""Log lines for the journal."""

import logging
import os

import pytest

from luludb.cli.journal import JournalFormatter, is_journal


def formatted(level, message, exc_info=None):
    record = logging.LogRecord("luludb", level, "file", 1, message, (), exc_info)
    return JournalFormatter().format(record)


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
    ],
)
def test_each_level_has_a_priority(level, priority):
    assert formatted(level, "said") == f"<{priority}>said"


def test_a_message_is_one_line_and_a_traceback_has_the_priority_on_each():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        found = (ValueError, error, error.__traceback__)

    lines = formatted(logging.CRITICAL, "a\n<6>b", found).split("\n")

    assert lines[0] == r"<2>a\n<6>b"
    assert len(lines) > 3
    assert all(line.startswith("<2>") for line in lines)


def test_only_the_stream_that_the_variable_names_goes_to_the_journal(tmp_path):
    with (tmp_path / "file").open("w") as stream:
        found = os.fstat(stream.fileno())
        ours = f"{found.st_dev}:{found.st_ino}"

        assert is_journal(stream, {"JOURNAL_STREAM": ours})
        assert not is_journal(stream, {"JOURNAL_STREAM": ours + "0"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": ours})  # closed by now
