"""`luludb service`: the daemon under systemd, on macOS under launchd."""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import click

from luludb.cli import tables
from luludb.cli.exits import NO_ANSWER
from luludb.cli.options import Target, as_json, pass_target, target_options
from luludb.cli.texts import one_line
from luludb.limits import LOG_LINES_SHOWN
from luludb.platform import IS_MACOS
from luludb.settings import Settings

if TYPE_CHECKING:
    from luludb.admin.service.launchd import LaunchdService
    from luludb.admin.service.systemd import SystemdService

_socket_option = click.option(
    "--socket",
    "with_socket",
    is_flag=True,
    help="Let systemd hold the sockets, so that they outlive a restart: clients then wait where"
    " they would have to connect again.",
)


@click.group
@target_options
def service() -> None:
    """Run the daemon under systemd, on macOS under launchd.

    It is a service of the user: no root, and each home has its own. The daemon is started at
    login, and again after a failure.
    """


@service.command
@_socket_option
@target_options
@pass_target
def install(target: Target, *, with_socket: bool) -> None:
    """Set the service up and start it; done when it answers.

    Run it again after Python or luludb moved, or to add or leave out --socket.
    """
    from luludb.admin.service.answer import refuse_a_daemon_beside

    found = _service(target)
    refuse_a_daemon_beside(target.home, found.state().pid, target.timeout_s)
    found.install(with_socket=with_socket, tell=tables.print_line)
    _print_answer(target)
    for line in (found.advice(), _settings_not_passed_on()):
        if line is not None:
            tables.print_line(line)


@service.command
@target_options
@pass_target
def uninstall(target: Target) -> None:
    """Stop the service and remove it; the database stays."""
    _service(target).uninstall(tell=tables.print_line)


@service.command
@target_options
@pass_target
def start(target: Target) -> None:
    """Start the daemon; done when it answers."""
    from luludb.admin.service.answer import refuse_a_daemon_beside

    found = _service(target)
    refuse_a_daemon_beside(target.home, found.state().pid, target.timeout_s)
    found.start()
    _print_answer(target)


@service.command
@target_options
@pass_target
def stop(target: Target) -> None:
    """Stop the daemon until the next start or login."""
    found = _service(target)
    found.stop()
    tables.print_line(f"stopped {found.unit}")


@service.command
@target_options
@pass_target
def restart(target: Target) -> None:
    """Restart the daemon; done when the new one answers. Clients wait meanwhile."""
    from luludb.admin.service.answer import refuse_a_daemon_beside

    found = _service(target)
    refuse_a_daemon_beside(target.home, found.state().pid, target.timeout_s)
    found.restart()
    _print_answer(target)


@service.command
@as_json
@target_options
@pass_target
def status(target: Target, *, as_json: bool) -> int:
    """Show its state, and whether the daemon answers.

    The state is the manager's word. It ends with 0 where the daemon really answers, and
    otherwise with 3.
    """
    from luludb.admin.service.answer import answering_pid

    found = _service(target)
    state = found.state()
    answering = answering_pid(target.home, target.timeout_s)
    body = {
        "service": found.unit,
        "file": str(found.file),
        "home": str(target.home.path),
        "state": state.state,
        "starts_at_login": state.starts_at_login,
        "pid": state.pid,
        "restarts": state.restarts,
        "answering_pid": answering,
    }
    if as_json:
        tables.print_json(body)
    else:
        del body["answering_pid"]
        readable = [(name, _words(value)) for name, value in body.items()]
        tables.print_pairs([*readable, ("answers", _answer(answering, state.pid))])
    return 0 if answering is not None else NO_ANSWER


@service.command
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=LOG_LINES_SHOWN,
    show_default=True,
    help="How many of the last lines.",
)
@target_options
@pass_target
def logs(target: Target, *, follow: bool, lines: int) -> None:
    """Show the daemon's log: journalctl's, on macOS its file."""
    from luludb.admin.service.tool import refused

    command = _service(target).logs_command(lines=lines, is_followed=follow)
    sys.stdout.flush()
    try:
        # In the place of this process: Ctrl-C, pager and exit code are its own.
        os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
    except FileNotFoundError as error:
        raise refused(f"there is no {command[0]} on this machine") from error


@service.command("print")
@_socket_option
@click.option("--systemd", "manager", flag_value="systemd", help="Of systemd, on any machine.")
@click.option("--launchd", "manager", flag_value="launchd", help="Of launchd, on any machine.")
@target_options
@pass_target
def print_files(target: Target, *, with_socket: bool, manager: str | None) -> None:
    """Print what install would write, and write nothing."""
    texts = _service(target, manager).texts(with_socket=with_socket)
    for path, text in texts.items():
        if len(texts) > 1:
            tables.print_line(f"# {path}")
        sys.stdout.write(text)


def _service(target: Target, manager: str | None = None) -> SystemdService | LaunchdService:
    from luludb.admin.service.launchd import LaunchdService
    from luludb.admin.service.program import program_of
    from luludb.admin.service.systemd import SystemdService

    program = program_of(target.home)
    if manager == "launchd" or (manager is None and IS_MACOS):
        return LaunchdService(program)
    return SystemdService(program)


def _print_answer(target: Target) -> None:
    from luludb.admin.service.answer import wait_for_answer

    pid = wait_for_answer(target.home, target.timeout_s)
    tables.print_line(f"the daemon answers (pid {pid}), home {target.home.path}")


def _settings_not_passed_on() -> str | None:
    """What the user set for this shell alone, and may take for the service's."""
    variables = (f"LULUDB_{field.name.upper()}" for field in fields(Settings))
    names = [name for name in variables if os.environ.get(name)]
    if not names:
        return None
    return f"the service does not see {', '.join(names)}: put settings into luludb.toml in the home"


def _words(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
    return one_line(value)


def _answer(answering: int | None, pid: int | None) -> str:
    if answering is None:
        return "no"
    return "yes" if answering == pid else f"another daemon does, pid {answering}"
