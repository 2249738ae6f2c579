"""The daemon in systemd's words: a service unit, and a socket unit that outlives its restarts."""

from __future__ import annotations

import os
from typing import Final

from luludb.admin.service.program import Program
from luludb.admin.service.tool import refused
from luludb.limits import SOCKET_PATH_BYTES_MAX_LINUX

# Every word here works in a user's manager. Those that need a mount namespace (ProtectSystem,
# PrivateTmp and their kin) do not everywhere, and a private /tmp would hide the sockets of a home
# with a long path.
_SERVICE: Final = """\
[Unit]
Description=luludb, the one writer of {home}
{unit}# More starts than this in so short a time mend nothing.
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
# READY=1 comes once the lock is held, the database migrated and the sockets bound.
Type=notify
NotifyAccess=main
ExecStart=:{command}
# Where a daemon was wedged is told by a traceback.
Environment=PYTHONFAULTHANDLER=1
{service}# Checking the database after a failure of the disk takes minutes on tens of gigabytes.
TimeoutStartSec=15min
TimeoutStopSec=60
# The loop tells that it turns every 3 s. One turn may last: to delete a session of 150,000
# messages took 1 s from memory, several may be in a turn, and a disk may be slow. A turn that is
# ended is done again, and must not be ended each time.
WatchdogSec=3min
TimeoutAbortSec=5
Restart=on-failure
RestartSec=100ms
# 1: it refused to start, and would again.
RestartPreventExitStatus=1
SyslogIdentifier=luludb
UMask=0077
LimitNOFILE=524288
LimitCORE=0
# Some 70 MB are usual. A peer that never ends its message is what this is against.
MemoryMax=2G
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""
_SOCKET: Final = """\
[Unit]
Description=The sockets of luludb for {home}

[Socket]
ListenStream={run}/command.sock
ListenStream={run}/changes.sock
FileDescriptorName=luludb
SocketMode=0600
DirectoryMode=0700
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def service_unit(program: Program, *, with_socket: bool) -> str:
    """The text of the service unit; `with_socket` where its sockets come from a socket unit."""
    socket = f"{program.name}.socket"
    return _SERVICE.format(
        home=_plain(str(program.home.path)),
        command=" ".join(map(_quoted, program.arguments)),
        unit=f"Requires={socket}\nAfter={socket}\n" if with_socket else "",
        service=f"Sockets={socket}\n" if with_socket else "",
    )


def socket_unit(program: Program) -> str:
    """The text of the socket unit.

    Raises:
        LuludbError: the home's path is too long for a unix socket.
    """
    longest = os.fsencode(program.home.run / "command.sock")
    if len(longest) > SOCKET_PATH_BYTES_MAX_LINUX:
        raise refused(
            f"{program.home.run}/command.sock has {len(longest)} bytes; a unix socket takes"
            f" {SOCKET_PATH_BYTES_MAX_LINUX}. Install without --socket: the daemon then makes its"
            " sockets in a shorter place; or choose a shorter --home"
        )
    return _SOCKET.format(home=_plain(str(program.home.path)), run=_plain(str(program.home.run)))


def _plain(text: str) -> str:
    """`text` as a value that is taken as it is but for `%` (systemd.unit(5), "Specifiers")."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """`word` for ExecStart, where the `:` before the command keeps `$` what it is."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_plain(escaped)}"'
