"""How a command ends: the exit code for each error, and one line on standard error."""

from __future__ import annotations

import contextlib
import io
import os
import sys

import click

from luludb.cli.texts import one_line
from luludb.errors import (
    DaemonUnavailable,
    DataLoss,
    LuludbError,
    OutcomeUnknown,
    StorageFailed,
)

REFUSED = 1
USAGE = 2
NO_ANSWER = 3
STORAGE_FAILED = 4
INTERRUPTED = 130


def run(command: click.Command) -> int:
    """Run `command` on the arguments of this process and return the exit code.

    Every error that is expected becomes one line on standard error. What else leaves is a bug.
    """
    _prepare_streams()
    try:
        code = command.main(prog_name="luludb", standalone_mode=False)
        return _flushed(code if isinstance(code, int) else 0)
    except click.Abort:
        return _flushed(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.UsageError as error:
        say(error.format_message())
        if error.ctx is not None:
            click.echo(f"Try '{error.ctx.command_path} --help'.", err=True)
        return USAGE
    except click.ClickException as error:
        say(error.format_message())
        return error.exit_code
    except (LuludbError, OSError) as error:
        say(message_of(error))
        return _flushed(exit_code(error))


def exit_code(error: Exception) -> int:
    """The exit code that stands for `error`."""
    match error:
        case DaemonUnavailable() | OutcomeUnknown():
            return NO_ANSWER
        case DataLoss() | StorageFailed():
            return STORAGE_FAILED
    return REFUSED


def message_of(error: Exception) -> str:
    """What `error` says to a person."""
    match error:
        case LuludbError():
            return error.message
        case OSError(strerror=str(reason), filename=str(path)):
            return f"{path}: {reason}"
        case OSError(strerror=str(reason)):
            return f"input or output failed: {reason}"
    return str(error)


def say(message: str) -> None:
    """Print one line for a person on standard error."""
    # Who closed standard error hears nothing; the exit code still tells.
    with contextlib.suppress(OSError):
        click.echo(f"luludb: {one_line(message)}", err=True)


def _prepare_streams() -> None:
    # A program that was started with a stream closed has None there; it would be no use to die
    # of that in the middle of a command.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nothing, mode, encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # JSON is UTF-8 whatever the locale; what a terminal cannot show is written out.
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def _flushed(code: int) -> int:
    """`code`, or what it becomes when the rest of the output cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        drop_output()
        say(f"standard output: {error.strerror}")
        return code or REFUSED
    return code


def drop_output() -> None:
    """Send what is still written to standard output nowhere."""
    # Python flushes standard output once more when it ends, and would complain there.
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
