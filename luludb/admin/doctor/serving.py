"""Checks of the daemon: whether it answers, and what it says of itself.

Whether it lives is told by an answer. A pid says only who to look at.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from luludb import __version__
from luludb.admin.doctor.finding import Finding, Level, luludb_command
from luludb.admin.doctor.situation import (
    Awaited,
    NotListening,
    NotUnderstood,
    Serving,
    Silent,
    Situation,
)
from luludb.platform import described_process, is_stopped, open_files_limit_of

_NEARLY_ALL: Final = 0.8


def check_daemon(situation: Situation) -> Iterator[Finding]:
    """Whether a daemon serves this home."""
    match situation.answer:
        case Serving(status):
            if _is_same(str(status["home"]), situation.home.path):
                yield Finding(
                    Level.OK, "daemon", f"pid {status['pid']} answers, luludb {status['version']}"
                )
            else:
                yield _of_another_home(situation, str(status["home"]))
        case Silent(reason):
            yield _silent(situation, reason)
        case NotUnderstood(reason):
            yield Finding(
                Level.PROBLEM,
                "daemon",
                f"{reason}: it is of another version than what is installed, and clients fail",
                situation.restart,
            )
        case Awaited():
            yield _awaited(situation)
        case NotListening() if situation.lock_pids:
            yield Finding(
                Level.PROBLEM,
                "daemon",
                f"{_processes(situation)} serves this home, but its socket is gone: no client"
                " reaches it. Something removed it, or it is stopping",
                # It cannot be asked to stop any more; a start waits for its end.
                f"kill {situation.lock_pids[0]} && {luludb_command(situation.home, 'start')}",
            )
        case NotListening():
            yield Finding(
                Level.WARNING,
                "daemon",
                f"no daemon serves this home: {situation.home.discovery} is that of one that was"
                " killed. Writes wait and then fail; reads work",
                luludb_command(situation.home, "start"),
            )
        case _ if situation.lock_pids:
            yield Finding(
                Level.WARNING,
                "daemon",
                f"{_processes(situation)} holds {situation.home.lock} and does not serve: a daemon"
                " that starts or stops, a restore or compact. No daemon can start until it ends."
                " If it lasts, end it",
                f"kill {situation.lock_pids[0]}",
            )
        case _:
            yield Finding(
                Level.WARNING,
                "daemon",
                "no daemon serves this home: writes wait and then fail; reads work",
                luludb_command(situation.home, "start"),
            )


def check_version(situation: Situation) -> Iterator[Finding]:
    """A daemon goes on as it was installed when it started."""
    match situation.answer:
        case Serving(status) if status["version"] != __version__:
            yield Finding(
                Level.WARNING,
                "version",
                f"the daemon runs luludb {status['version']} and {__version__} is installed; it"
                " was not started anew since, and what was mended is not in it",
                situation.restart,
            )
        case Serving(status):
            yield Finding(Level.OK, "version", f"{__version__}, protocol {status['protocol']}")


def check_lock_file(situation: Situation) -> Iterator[Finding]:
    """The lock keeps a second daemon out; one on a file that is gone keeps out nobody."""
    if not isinstance(situation.answer, Serving):
        return
    pid = situation.answer.status["pid"]
    lock = situation.home.lock
    written = lock.read_text("ascii", "replace").strip() if lock.exists() else None
    if written != str(pid) and _is_same(str(situation.answer.status["home"]), situation.home.path):
        how = "is gone" if written is None else f"says {written or 'nothing'} and not {pid}"
        yield Finding(
            Level.PROBLEM,
            "lock",
            f"{lock} {how}: it was removed or replaced while the daemon runs, and would not keep a"
            " second one from starting beside it",
            situation.restart,
        )
    else:
        yield Finding(Level.OK, "lock", f"held by pid {pid}")


def check_failure(situation: Situation) -> Iterator[Finding]:
    """A daemon whose storage failed leaves a note, which the next start heeds."""
    failure = situation.home.failure
    if failure.exists():
        text = failure.read_text("utf-8", "replace").strip()
        yield Finding(
            Level.PROBLEM,
            "storage",
            f"storage failed: {text}. Look at the disk first (dmesg); the next start copies the"
            " log back, checks the database, and refuses to serve a damaged one",
            luludb_command(situation.home, "start"),
        )


def check_open_files(situation: Situation) -> Iterator[Finding]:
    """Out of descriptors, libzmq's listener aborts the process."""
    if not isinstance(situation.answer, Serving):
        return
    status = situation.answer.status
    limit = open_files_limit_of(int(status["pid"]))
    if limit is not None and status["open_files"] >= limit * _NEARLY_ALL:
        yield Finding(
            Level.PROBLEM,
            "open files",
            f"the daemon has {status['open_files']} files open and may have {limit}; it dies at"
            f" the limit. {status['connections']} connections are open: close clients, or raise"
            " the limit for it",
            f"ulimit -n 65536; {luludb_command(situation.home, 'restart')}",
        )
    else:
        of = "" if limit is None else f" of {limit:,}"
        yield Finding(Level.OK, "open files", f"{status['open_files']:,}{of}")


def check_foreign_writers(situation: Situation) -> Iterator[Finding]:
    """Another writer makes everyone wait."""
    match situation.answer:
        case Serving(status) if waits := status["foreign_writer_waits_total"]:
            yield Finding(
                Level.NOTE,
                "other writers",
                f"since its start the daemon waited {waits:,} times for another program that wrote"
                " to lulu.db. Let that program write through luludb",
            )


def _silent(situation: Situation, reason: str) -> Finding:
    pids = situation.lock_pids or tuple(situation.daemon_pids)
    stopped = [pid for pid in pids if is_stopped(pid)]
    if stopped:
        return Finding(
            Level.PROBLEM,
            "daemon",
            f"{described_process(stopped[0])} serves this home and was stopped by a signal"
            " (SIGSTOP, Ctrl-Z or a debugger): nothing is written until it goes on",
            f"kill -CONT {stopped[0]}",
        )
    # SIGTERM is heeded between turns, which one that is stuck does not reach.
    end = " && ".join(
        (*(f"kill -9 {pid}" for pid in pids), luludb_command(situation.home, "start"))
    )
    return Finding(
        Level.PROBLEM,
        "daemon",
        f"{reason}: it is stuck, in the disk or in itself. What was acknowledged survives its end",
        end,
    )


def _awaited(situation: Situation) -> Finding:
    """Systemd listens, and the service's daemon does not run."""
    home = situation.home
    if situation.lock_pids:
        pid = situation.lock_pids[0]
        again = (luludb_command(home, "service", "stop"), luludb_command(home, "service", "start"))
        return Finding(
            Level.PROBLEM,
            "daemon",
            f"{_processes(situation)} holds {home.lock}, and systemd listens at the sockets for the"
            " service's daemon, which cannot start beside it: no client is answered. End it, and"
            " have systemd make the sockets anew",
            # What it takes with it are the sockets of systemd, if they lie in the place of its own.
            " && ".join((f"kill {pid}", f"tail --pid={pid} -f /dev/null", *again)),
        )
    if situation.discovery is None:
        return Finding(
            Level.WARNING,
            "daemon",
            f"no daemon runs. Systemd listens and would start one, but {home.discovery}, by which"
            " clients find it, is not there: writes wait and then fail; reads work",
            luludb_command(home, "service", "start"),
        )
    return Finding(
        Level.OK, "daemon", "none runs; systemd listens, and starts one with the next client"
    )


def _of_another_home(situation: Situation, other: str) -> Finding:
    discovery = shlex.quote(str(situation.home.discovery))
    return Finding(
        Level.PROBLEM,
        "daemon",
        f"{situation.home.discovery} names the daemon of {other}: the home was copied or moved"
        " while one ran, and clients of this home write to that one",
        f"rm {discovery} && {luludb_command(situation.home, 'start')}",
    )


def _is_same(said: str, path: Path) -> bool:
    try:
        return path.samefile(said)
    except OSError:
        return said == str(path)


def _processes(situation: Situation) -> str:
    return ", ".join(map(described_process, situation.lock_pids))
