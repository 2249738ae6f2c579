"""`luludb start`, `stop` and `restart`: a daemon in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from luludb.cli import tables
from luludb.cli.exits import say
from luludb.cli.options import Target, as_json, pass_target, target_options

if TYPE_CHECKING:
    from luludb.admin.background import Running
    from luludb.home import Home


@click.command
@as_json
@target_options
@pass_target
def start(target: Target, *, as_json: bool) -> None:
    """Start the daemon in the background, if none runs.

    When it returns, the daemon answers. It goes on after this terminal is closed, and logs to
    log/daemon.log in its home. Its settings come from LULUDB_* and luludb.toml.
    """
    from luludb.admin import background

    home = target.home
    running = background.start(home, timeout_s=target.timeout_s, tell=say)
    if as_json:
        tables.print_json(_as_json(home, running))
    else:
        tables.print_line(_serves(home, running))


@click.command
@as_json
@target_options
@pass_target
def stop(target: Target, *, as_json: bool) -> None:
    """Stop the daemon, whoever started it.

    When it returns, its process is gone. Where none runs, it says so and ends with 0.
    """
    from luludb.admin import background

    home = target.home
    pid = background.stop(home, timeout_s=target.timeout_s)
    if as_json:
        tables.print_json({"home": str(home.path), "stopped": pid is not None, "pid": pid})
    else:
        tables.print_line(_stopped(home, pid))


@click.command
@as_json
@target_options
@pass_target
def restart(target: Target, *, as_json: bool) -> None:
    """Stop the daemon, if one runs, and start one in the background.

    Programs that write wait meanwhile, and see no error.
    """
    from luludb.admin import background

    home = target.home
    pid = background.stop(home, timeout_s=target.timeout_s)
    if not as_json:
        tables.print_line(_stopped(home, pid))
    running = background.start(home, timeout_s=target.timeout_s, tell=say)
    if as_json:
        tables.print_json({**_as_json(home, running), "stopped_pid": pid})
    else:
        tables.print_line(_serves(home, running))


def _serves(home: Home, running: Running) -> str:
    from luludb.logfile import log_path

    if running.was_running:
        return f"pid {running.pid} serves {home.path} already"
    return f"pid {running.pid} serves {home.path}; its log is {log_path(home)}"


def _stopped(home: Home, pid: int | None) -> str:
    if pid is None:
        return f"no daemon serves {home.path}"
    return f"stopped pid {pid}, which served {home.path}"


def _as_json(home: Home, running: Running) -> dict[str, Any]:
    return {
        "home": str(home.path),
        "pid": running.pid,
        "boot_id": running.boot_id,
        "was_running": running.was_running,
    }
