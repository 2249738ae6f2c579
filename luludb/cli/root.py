"""The command `luludb` itself: its options and the list of its commands."""

from __future__ import annotations

from typing import Any

import click

from luludb import __version__
from luludb.cli.background import restart, start, stop
from luludb.cli.backup import backup, restore
from luludb.cli.compact import compact
from luludb.cli.config import config
from luludb.cli.doctor import doctor
from luludb.cli.exits import drop_output
from luludb.cli.face import show_face
from luludb.cli.figures import ping, status
from luludb.cli.messages import message
from luludb.cli.options import Target, pass_target, target_options
from luludb.cli.prune import prune
from luludb.cli.serve import serve
from luludb.cli.service import service
from luludb.cli.sessions import session
from luludb.cli.tail import tail
from luludb.cli.top import top
from luludb.cli.transfer import export_file, import_file

_EPILOG = """\b
Completion of commands and options:
  bash, in ~/.bashrc:  eval "$(_LULUDB_COMPLETE=bash_source luludb)"
  zsh, in ~/.zshrc:    eval "$(_LULUDB_COMPLETE=zsh_source luludb)"
  fish:                _LULUDB_COMPLETE=fish_source luludb | source

\b
Exit codes: 0 done; 1 refused; 2 wrong usage; 3 no daemon, or no answer in
time; 4 storage failed, or data lost; 130 interrupted.
"""


class _Luludb(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        """The order in which a new user meets them, not that of the alphabet."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run the command. It is done when the reader of a pipe has left, as in `export | head`."""
        try:
            return super().invoke(context)
        except BrokenPipeError as error:
            drop_output()
            raise click.exceptions.Exit(0) from error


@click.group(
    cls=_Luludb,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="luludb %(version)s")
@target_options
@click.pass_context
@pass_target
def luludb(target: Target, context: click.Context) -> None:
    """Many processes, one SQLite file, no write contention.

    Every command takes --home and --timeout. Without a command it says what is going on here.
    """
    if context.invoked_subcommand is None:
        show_face(target)


for command in (
    serve,
    start,
    stop,
    restart,
    ping,
    status,
    top,
    doctor,
    config,
    session,
    message,
    tail,
    import_file,
    export_file,
    backup,
    restore,
    prune,
    compact,
    service,
):
    luludb.add_command(command)
