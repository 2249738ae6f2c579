"""Sockets that systemd made and hands to each daemon in turn (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from luludb.errors import StartRefused

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
