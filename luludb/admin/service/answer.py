"""Whether a service's daemon really answers, which its manager cannot tell."""

from __future__ import annotations

import time

from luludb.admin.service.tool import refused
from luludb.errors import DaemonUnavailable
from luludb.home import Home, stop_command
from luludb.limits import SERVICE_LOOK_S
from luludb_client import Client


def answering_pid(home: Home, timeout_s: float) -> int | None:
    """The pid of the daemon that answers for `home`; None where none does."""
    with Client(home.path, timeout_s=timeout_s) as client:
        try:
            return int(client.status()["pid"])
        except DaemonUnavailable:
            return None


def wait_for_answer(home: Home, timeout_s: float) -> int:
    """The pid of the daemon, once it answers.

    Raises:
        DaemonUnavailable: none did in time.
    """
    until_s = time.monotonic() + timeout_s
    with Client(home.path, timeout_s=timeout_s) as client:
        while True:
            try:
                return int(client.status()["pid"])
            except DaemonUnavailable:
                if time.monotonic() >= until_s:
                    raise
                time.sleep(SERVICE_LOOK_S)


def refuse_a_daemon_beside(home: Home, service_pid: int | None, timeout_s: float) -> None:
    """Refuse to start a service where another daemon serves the home already.

    Raises:
        LuludbError: one does; the service's would be refused the lock.
    """
    pid = answering_pid(home, timeout_s)
    if pid is not None and pid != service_pid:
        raise refused(
            f"a daemon that is not this service's (pid {pid}) serves {home.path}; stop it first:"
            f" {stop_command(home)}"
        )
