"""`luludb serve`: the daemon in the foreground. The only command that imports the daemon."""

from __future__ import annotations

import logging
import sys
import time

import click

from luludb.cli.options import Target, pass_target, target_options
from luludb.cli.texts import one_line
from luludb.commands import DURABILITIES
from luludb.settings import load_settings


@click.command
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    help="What an acknowledged write survives: normal, the death of any process; full, power"
    " loss too.  [default: normal]",
)
@target_options
@pass_target
def serve(target: Target, *, durability: str | None) -> int:
    """Run the daemon in the foreground.

    It logs to standard error, one line an event, and stops cleanly on Ctrl-C or SIGTERM. It ends
    with 0, with 1 when it refused to start, and with 4 when storage failed.
    """
    home = target.home
    settings, _ = load_settings(home, {"durability": durability})
    _log_to_stderr(settings.log_level)
    from luludb.daemon import serve as serve_home

    return serve_home(home, settings)


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


class _LineFormatter(logging.Formatter):
    """Time in UTC, level and message, on one line whatever the message holds."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)
