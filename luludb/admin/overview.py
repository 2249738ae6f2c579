"""What is going on in a home, at a glance: the daemon, and what is in the database."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from luludb.errors import DaemonUnavailable, LuludbError
from luludb.home import Home, read_discovery, refuse_closed
from luludb.limits import FACE_ANSWER_S_MAX, FACE_MESSAGES_COUNTED_MAX
from luludb.tables import Connection, changes, messages, sessions
from luludb.tables.changes import ChangeRow
from luludb_client import control
from luludb_client.replica import Replica

RUNNING = "running"
"""The status that an orchestrator gives a session in which an agent is at work."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in the database.

    Attributes:
        sessions: how many there are.
        running: how many of them have the status `running`.
        messages: how many there are, counted no further than FACE_MESSAGES_COUNTED_MAX.
        last_change: the newest change, None where there is none.
        last_session: the name of the session that it changed, None where that is gone.
    """

    sessions: int
    running: int
    messages: int
    last_change: ChangeRow | None
    last_session: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of a home. It never fails: what cannot be known is None, with its reason.

    Attributes:
        pid: of the daemon that answers; None where none does.
        uptime_s: how long that daemon has been running.
        silent_pid: of a daemon that listens and does not answer, or that ended without a word.
        has_failed: whether the last daemon ended because storage failed.
        contents: what is in the database; None where it cannot be read.
        is_missing: whether there is no database yet.
        unreadable: why it cannot be read, where there is one.
    """

    pid: int | None
    uptime_s: float
    silent_pid: int | None
    has_failed: bool
    contents: Contents | None
    is_missing: bool
    unreadable: str | None


def look_around(home: Home) -> Overview:
    """The state of `home`, within some seconds even where the daemon hangs."""
    try:
        refuse_closed(home)
    except LuludbError as error:
        return _unknown(error.message)
    pid, uptime_s, silent_pid = _ask_daemon(home)
    contents, unreadable = None, None
    is_missing = not _exists(home)
    if not is_missing:
        try:
            with closing(Replica(home, FACE_ANSWER_S_MAX)) as replica:
                contents = replica.read(_read_contents)
        except LuludbError as error:
            unreadable = error.message
    return Overview(
        pid=pid,
        uptime_s=uptime_s,
        silent_pid=silent_pid,
        has_failed=_has_failed(home),
        contents=contents,
        is_missing=is_missing,
        unreadable=unreadable,
    )


def _unknown(why: str) -> Overview:
    return Overview(
        pid=None,
        uptime_s=0.0,
        silent_pid=None,
        has_failed=False,
        contents=None,
        is_missing=False,
        unreadable=why,
    )


def _ask_daemon(home: Home) -> tuple[int | None, float, int | None]:
    try:
        figures = control.ask(home, "status", FACE_ANSWER_S_MAX)
        return int(figures["pid"]), float(figures["uptime_s"]), None
    except DaemonUnavailable:
        discovery = read_discovery(home)
        return None, 0.0, None if discovery is None else discovery.pid
    except LuludbError:  # it answers, in a way that this version does not understand
        return None, 0.0, None


def _exists(home: Home) -> bool:
    try:
        return home.database.exists()
    except OSError:  # the directory may not be entered; the look at the database tells why
        return True


def _has_failed(home: Home) -> bool:
    try:
        return home.failure.exists()
    except OSError:
        return False


def _read_contents(connection: Connection) -> Contents:
    newest = changes.newest(connection, session_id=None, rows_max=1)
    session = sessions.get(connection, newest[0][2]) if newest else None
    return Contents(
        sessions=sessions.count(connection),
        running=sessions.count_of_status(connection, RUNNING),
        messages=messages.count_up_to(connection, FACE_MESSAGES_COUNTED_MAX),
        last_change=newest[0] if newest else None,
        last_session=None if session is None else session.name,
    )
