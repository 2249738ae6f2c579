"""The daemon's log on standard error: one line an event, for a person or for a program."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from luludb.cli.journal import JournalFormatter, is_journal
from luludb.cli.texts import one_line
from luludb.logfile import keep_bounded

_DESCRIPTORS = (2, 1)  # standard error first: it is what the log is written to


def log_to_stderr(level: str) -> None:
    """Let every event from `level` on go to standard error."""
    _begin(level, logging.StreamHandler(sys.stderr))


def log_to_file(path: Path, level: str) -> None:
    """The same where standard error and standard output are the file `path`, which is rotated."""
    _begin(level, _RotatedLog(path))


def formatter_for(stream: TextIO) -> logging.Formatter:
    """A line for a person on a terminal, with its priority for the journal, and JSON elsewhere."""
    if is_journal(stream):
        return JournalFormatter()
    return PlainFormatter() if stream.isatty() else JsonFormatter()


def _begin(level: str, handler: logging.Handler) -> None:
    handler.setFormatter(formatter_for(sys.stderr))
    logging.basicConfig(level=level.upper(), handlers=[handler])


class PlainFormatter(logging.Formatter):
    """Time in UTC, level and message, with control characters in the message written out."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line."""
        record.message = one_line(record.message)
        return super().formatMessage(record)


class JsonFormatter(PlainFormatter):
    """An object a line: time, level, pid, message, and what `fields` of the event has."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        found = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "pid": os.getpid(),
            "message": one_line(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False, default=str)


class _RotatedLog(logging.StreamHandler[TextIO]):
    """Looks before each line whether the file is full, or was moved away."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            keep_bounded(self._path, written_to=_DESCRIPTORS)
        except OSError:
            self.handleError(record)  # and on with the file that is there
        super().emit(record)
