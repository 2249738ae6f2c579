"""`luludb serve`: the daemon in the foreground. The only command that imports the daemon."""

from __future__ import annotations

import os

import click

from luludb.cli.options import Target, pass_target, target_options
from luludb.commands import DURABILITIES


@click.command
@click.option(
    "--durability",
    type=click.Choice(DURABILITIES),
    help="What an acknowledged write survives: normal, the death of any process; full, power"
    " loss too.  [default: normal]",
)
@click.option("--background", is_flag=True, hidden=True, help="Is given by luludb start.")
@target_options
@pass_target
def serve(target: Target, *, durability: str | None, background: bool) -> int:
    """Run the daemon in the foreground.

    It logs to standard error, one line an event, and stops cleanly on Ctrl-C or SIGTERM. It ends
    with 0, with 1 when it refused to start, and with 4 when storage failed.
    """
    from luludb.cli.log import log_to_file, log_to_stderr
    from luludb.logfile import log_path
    from luludb.settings import load_settings

    home = target.home
    settings, _ = load_settings(home, {"durability": durability})
    if background:
        os.chdir("/")  # so that no file system stays in use because of it
        log_to_file(log_path(home), settings.log_level)
    else:
        log_to_stderr(settings.log_level)
    from luludb.daemon import serve as serve_home

    return serve_home(home, settings)
