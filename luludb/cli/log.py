"""The daemon's log on standard error: time in UTC, level and message, one line an event."""

from __future__ import annotations

import logging
import sys
import time

from luludb.cli.journal import JournalFormatter, is_journal
from luludb.cli.texts import one_line


def log_to_stderr(level: str) -> None:
    """Let every event from `level` on go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if is_journal(sys.stderr):
        handler.setFormatter(JournalFormatter())
    else:
        handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class _LineFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line, with a line feed in the message written out."""
        record.message = one_line(record.message)
        return super().formatMessage(record)
