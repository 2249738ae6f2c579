"""A daemon in the background, without a service manager: start it, stop it.

Whether one runs is asked of the daemon itself, never told by a pid alone, and never by trying the
lock; who holds that is looked up. Of several that are started at once the home's lock lets one
live; all starters wait for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from luludb.admin.start_log import StartLog, start_log
from luludb.errors import DaemonUnavailable, LuludbError, StartRefused, StorageFailed
from luludb.home import HOME_LOCKED, Home, daemon_that_holds, prepare_home, read_discovery
from luludb.limits import BACKGROUND_POLL_S
from luludb.logfile import log_path
from luludb.platform import process_started
from luludb_client import control

# What a service manager told its service, which the daemon would take as told to itself.
_ENVIRONMENT_OF_SERVICES: Final = frozenset(
    (
        *("INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"),
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
    )
)
_EXIT_STORAGE_FAILED: Final = 4  # of `luludb serve`
_END_IT: Final = "kill -9 {pid} (nothing acknowledged is lost by that)"


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that has answered.

    Attributes:
        pid: of its process.
        boot_id: the random name of this run.
        was_running: whether someone else had started it.
    """

    pid: int
    boot_id: str
    was_running: bool = True


def start(home: Home, *, timeout_s: float, tell: Callable[[str], None]) -> Running:
    """The daemon of `home`, which answers when this returns; it is started if there is none.

    Args:
        home: it is made if it is not there.
        timeout_s: how long to wait for the answer.
        tell: told what was tightened in the home.

    Raises:
        StartRefused: the daemon does not start here; the message has its reason.
        DaemonUnavailable: it did not answer in time. It is left as it is.
    """
    deadline_s = time.monotonic() + timeout_s
    found = _answering(home, deadline_s)
    if found is not None:
        return found
    for message in prepare_home(home):
        tell(message)
    with start_log(home) as log:
        return _start(home, log, deadline_s)


def stop(home: Home, *, timeout_s: float) -> int | None:
    """End the daemon of `home`, and wait until its process is gone.

    Returns:
        Its pid; None where none runs, or the one that did was ending already.

    Raises:
        DaemonUnavailable: it does not answer, is not to be reached, or did not end in time.
        StorageFailed: it ended, and could not bring the database in order.
    """
    deadline_s = time.monotonic() + timeout_s
    found = _identified(home, deadline_s)
    if found is None:
        return None
    pid, started = found
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while process_started(pid) == started:
        if time.monotonic() >= deadline_s:
            raise DaemonUnavailable(
                f"pid {pid} was told to stop and still runs after {timeout_s:g} s. Wait for it, or"
                f" end it: {_END_IT.format(pid=pid)}"
            )
        time.sleep(BACKGROUND_POLL_S)
    if home.failure.exists():
        raise StorageFailed(f"pid {pid} has stopped, and storage failed: see {home.failure}")
    return pid


def _identified(home: Home, deadline_s: float) -> tuple[int, str] | None:
    """Pid and start of the process that is the daemon of `home` for sure; None where none is.

    One that holds the lock and does not listen starts or stops: its answer or end is waited for.
    """
    silent_pid, silent_started = 0, None
    while True:
        discovery = read_discovery(home)
        # Looked up before the daemon answers: who has that pid then is the one that answered.
        started = None if discovery is None else process_started(discovery.pid)
        found = _answering(home, deadline_s)
        if found is None:
            if (holder_pid := daemon_that_holds(home)) is not None:
                silent_pid, silent_started = holder_pid, process_started(holder_pid)
            if silent_started is None or process_started(silent_pid) != silent_started:
                return None
            if time.monotonic() >= deadline_s:
                raise _unreached(home, silent_pid)
            time.sleep(BACKGROUND_POLL_S)
            continue
        if discovery is not None and discovery.boot_id == found.boot_id:
            break
        if time.monotonic() >= deadline_s:
            raise DaemonUnavailable(f"{home.discovery} tells of another daemon than the one here")
    if started is None:
        raise LuludbError(
            f"the daemon of {home.path} answers, and its pid {found.pid} is none of this system:"
            " it runs in a container. Stop it there"
        )
    return found.pid, started


def _unreached(home: Home, pid: int) -> DaemonUnavailable:
    return DaemonUnavailable(
        f"pid {pid} holds {home.lock}, and no daemon listens: it is starting or stopping, or its"
        f" socket was taken away (luludb doctor tells). If it stays so, end it: kill {pid}"
    )


def _answering(home: Home, deadline_s: float) -> Running | None:
    """The daemon that answers; None where nobody listens.

    Raises:
        DaemonUnavailable: one listens, and gave no answer till the deadline.
    """
    try:
        # Even where the time is over, one that is there shall be seen.
        found = control.ask(home, "status", max(deadline_s - time.monotonic(), BACKGROUND_POLL_S))
    except control.NoAnswer as error:
        raise DaemonUnavailable(
            f"{error.message}. If it stays so, end it: {_END_IT.format(pid=error.details['pid'])}"
        ) from error
    except DaemonUnavailable:
        return None
    return Running(int(found["pid"]), str(found["boot_id"]))


def _start(home: Home, log: StartLog, deadline_s: float) -> Running:
    child: subprocess.Popen[bytes] | None = None
    holder_pid: int | None = None
    try:
        while True:
            if child is None and (holder_pid is None or process_started(holder_pid) is None):
                child = _spawn(home, log)
            found = _answering(home, deadline_s)
            if found is not None and child is not None and found.pid == child.pid:
                return Running(found.pid, found.boot_id, was_running=False)
            if found is not None:
                _end(child)  # or it would serve when the other one stops before it saw it
                return found
            if child is not None and child.poll() is not None:
                holder_pid = _other_daemon(home, log, child)
                child = None
            if time.monotonic() >= deadline_s:
                raise _late(home, child, holder_pid)
            time.sleep(BACKGROUND_POLL_S)
    except KeyboardInterrupt:
        _end(child)
        raise
    finally:
        if child is not None and child.returncode is None:
            child.returncode = 0  # it lives on without us, of which Popen would warn


def _end(child: subprocess.Popen[bytes] | None) -> None:
    if child is not None:
        child.terminate()
        child.wait()


def _spawn(home: Home, log: StartLog) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise StartRefused(f"this Python has no executable; run: luludb start --home {home.path}")
    env = {key: os.environ[key] for key in os.environ.keys() - _ENVIRONMENT_OF_SERVICES}
    # -P: a file of the current directory's must not be taken for a module.
    python = [sys.executable, "-P", "-m", "luludb"]
    return subprocess.Popen(
        [*python, "serve", "--background", "--home", str(home.path)],
        stdin=subprocess.DEVNULL,
        stdout=log.descriptor,
        stderr=log.descriptor,
        start_new_session=True,
        env=env,
    )


def _other_daemon(home: Home, log: StartLog, child: subprocess.Popen[bytes]) -> int | None:
    """The pid of the daemon beside which `child` did not start; None where it is not written yet.

    Raises:
        StartRefused: it ended for another reason.
        StorageFailed: it ended since storage failed.
    """
    reason = log.reason(child.pid)
    if reason.get("code") == HOME_LOCKED and reason.get("holder") == "daemon":
        pid = reason.get("holder_pid")
        return pid if isinstance(pid, int) else None
    why = reason.get("message", f"it ended with {child.returncode}")
    message = f"the daemon did not start: {why} (log: {log_path(home)})"
    if child.returncode == _EXIT_STORAGE_FAILED:
        raise StorageFailed(message)
    raise StartRefused(message)


def _late(
    home: Home, child: subprocess.Popen[bytes] | None, holder_pid: int | None
) -> DaemonUnavailable:
    if child is not None:
        return DaemonUnavailable(
            f"the daemon was started (pid {child.pid}) and does not answer yet; it may be checking"
            f" or migrating a large database. Its log is {log_path(home)}; luludb ping asks again"
        )
    return DaemonUnavailable(
        f"pid {holder_pid} holds {home.lock} as the daemon of this home, and does not answer. It"
        f" may be starting or stopping; if it stays so, end it: {_END_IT.format(pid=holder_pid)}"
    )
