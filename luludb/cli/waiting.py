"""A word to a person whose command waits for a daemon, which would look like one that hangs."""

from __future__ import annotations

import socket
import sys
from contextlib import closing

from luludb.cli.exits import say
from luludb.home import Home, read_discovery


def tell_of_a_wait(home: Home, timeout_s: float) -> None:
    """On a terminal: say that no daemon listens, before a command that writes waits for one."""
    if sys.stderr.isatty() and not _is_listening(home):
        say(f"no daemon serves {home.path}; waiting up to {timeout_s:g} s for one (Ctrl-C ends it)")


def _is_listening(home: Home) -> bool:
    from luludb_client.channel import endpoint_path

    discovery = read_discovery(home)
    if discovery is None:
        return False
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.setblocking(False)
        try:
            connection.connect(endpoint_path(discovery.command))
        except BlockingIOError:  # one that has much to do, and takes connections later
            return True
        except OSError:
            return False
    return True
