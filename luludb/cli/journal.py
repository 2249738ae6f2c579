"""Log lines as systemd's journal takes them: with a priority in front, and without a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Final, TextIO

from luludb.cli.texts import one_line

# sd-daemon(3); what Python calls critical ends the daemon, and is "crit" there too.
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG: Final = 7


def is_journal(stream: TextIO, env: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to `stream` goes to the journal, as `JOURNAL_STREAM` says.

    The variable is inherited by processes whose standard error goes elsewhere, so its device and
    inode are compared.
    """
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return env.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class JournalFormatter(logging.Formatter):
    """`<4>message`, each line of a traceback with the priority as well."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The message, with a line feed in it written out."""
        return one_line(record.message)

    def format(self, record: logging.LogRecord) -> str:
        """The event's lines."""
        priority = next((to for level, to in _PRIORITIES if record.levelno >= level), _DEBUG)
        lines = super().format(record).splitlines()
        return "\n".join(f"<{priority}>{line}" for line in lines)
