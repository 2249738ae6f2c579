"""Sockets that systemd made and hands to each daemon in turn (sd_listen_fds(3)).

A daemon that was handed none must not take the place of those that it keeps for another.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luludb.errors import StartRefused
from luludb.home import Home
from luludb.limits import SOCKET_LET_GO_POLL_S, SOCKET_LET_GO_S_MAX
from luludb.platform import is_held_socket

_FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
_NAMES: Final = ("command.sock", "changes.sock")


@dataclass(frozen=True, slots=True)
class Inherited:
    """Two listening sockets as descriptors, and the directory that they lie in."""

    directory: Path
    command: int
    changes: int


def inherited_sockets(env: Mapping[str, str]) -> Inherited | None:
    """The sockets handed to this process; None where there are none.

    Raises:
        StartRefused: they are not two listening unix sockets with the names that clients look for.
    """
    # The variables of another process may come down to this one through a shell between them.
    if env.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = int(env.get("LISTEN_FDS", "0"))
    if not count:
        return None
    paths = {
        _listening_path(descriptor): descriptor
        for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count)
    }
    directory = next(iter(paths)).parent
    if count != len(_NAMES) or set(paths) != {directory / name for name in _NAMES}:
        raise StartRefused(
            f"systemd handed over {', '.join(sorted(map(str, paths)))}; the daemon takes"
            f" {' and '.join(_NAMES)} of one directory. Write the units anew:"
            " luludb service install --socket"
        )
    return Inherited(directory, *(paths[directory / name] for name in _NAMES))


def refuse_held_sockets(home: Home) -> None:
    """Refuse to start where another process listens at the sockets of `home`.

    Only one who holds the home's lock may call this: no daemon is left then that could listen, so
    it is systemd, for the service of this home. libzmq's bind would unlink its sockets, and the
    service would never be reached again.

    Raises:
        StartRefused: one listens.
    """
    until_s = time.monotonic() + SOCKET_LET_GO_S_MAX
    for path in (home.run / name for name in _NAMES):
        # A process that is killed gives back its lock a moment before its sockets.
        while is_held_socket(path):
            if time.monotonic() >= until_s:
                raise StartRefused(_held(home, path))
            time.sleep(SOCKET_LET_GO_POLL_S)


def _held(home: Home, path: Path) -> str:
    named = f"--home {shlex.quote(str(home.path))}"
    return (
        f"{path} is held by a process that does not hold {home.lock}: systemd, as it seems, which"
        " listens there for the service of this home and starts its daemon with the next client."
        f" Use that one: luludb service start {named}; or stop it and its sockets first:"
        f" luludb service stop {named}"
    )


def _listening_path(descriptor: int) -> Path:
    """Where the socket is bound; a word for what is no such socket."""
    try:
        os.set_inheritable(descriptor, False)
        with socket.socket(fileno=os.dup(descriptor)) as found:
            path = found.getsockname() if found.family == socket.AF_UNIX else found.family.name
            listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        return Path(f"descriptor {descriptor} ({error.strerror})")
    name = os.fsdecode(path)
    return Path(name if listens else f"{name} (not listening)")
