"""The command `luludb`: arguments, tables and exit codes. A module for each family of commands."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(_run())


def _run() -> int:
    # Imports take longer than some commands, and who presses Ctrl-C meanwhile wants no traceback.
    try:
        from luludb.cli.exits import run
        from luludb.cli.root import luludb

        return run(luludb)
    except KeyboardInterrupt:
        return _INTERRUPTED
