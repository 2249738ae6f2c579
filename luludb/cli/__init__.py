"""The command `luludb`: arguments, tables and exit codes. A module for each family of commands."""

from __future__ import annotations

import sys

from luludb.cli.exits import run
from luludb.cli.root import luludb

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(luludb))
