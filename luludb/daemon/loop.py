"""The daemon's life: start in order, turn after turn, stop in order."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from luludb import __version__
from luludb.daemon.checkpoints import Checkpoints
from luludb.daemon.connection import LockWait, open_database
from luludb.daemon.figures import Figures
from luludb.daemon.group_commit import GroupCommit
from luludb.daemon.guards import FileGuard, leave_failure
from luludb.daemon.inherited import inherited_sockets, refuse_held_sockets
from luludb.daemon.notify import ServiceManager
from luludb.daemon.sockets import Sockets
from luludb.daemon.writer import Writer
from luludb.errors import LuludbError, ShuttingDown, StartRefused, StorageFailed
from luludb.home import (
    Discovery,
    Home,
    locked,
    prepare_home,
    read_discovery,
    remove_discovery,
    socket_directory,
    write_discovery,
)
from luludb.ids import new_random_id
from luludb.limits import (
    DRAIN_FRAMES_MAX,
    FRAMES_WERE_WAITING_MS_MAX,
    GUARD_S,
    HOUSEKEEPING_S,
    LOOK_MS_MAX,
    POLL_MS_MAX,
    STOP_DRAIN_MS_MAX,
    STOP_QUIET_MS,
    TURN_CLIENTS_MIN,
)
from luludb.model import PROTOCOL
from luludb.platform import open_files, raise_open_files_limit, resident_bytes
from luludb.settings import Settings
from luludb.tables import schema

_log = logging.getLogger(__name__)

CLIENTS_SHARE = 0.65
"""How long a client works between two commands, over how long the daemon does; on two cores."""

EXIT_OK = 0
EXIT_REFUSED = 1
EXIT_STORAGE_FAILED = 4
EXIT_BUG = 70  # EX_SOFTWARE of sysexits.h


def serve(home: Home, settings: Settings) -> int:
    """Run the daemon on `home` until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a clean stop, 1 where it must not start here, 4 where storage failed,
        70 after an error that nobody foresaw.
    """
    os.umask(0o077)
    with _stop_signals() as stop:
        try:
            for message in prepare_home(home):
                _log.warning("%s", message)
            raise_open_files_limit()
            with locked(home):
                Daemon(home, settings, stop).run()
        except StartRefused as error:
            _log.error("%s", error.message, extra={"fields": {"code": error.code} | error.details})
            return EXIT_REFUSED
        except StorageFailed as error:
            _log.critical("storage failed, and the daemon stops: %s", error.message)
            leave_failure(home, error.message)
            return EXIT_STORAGE_FAILED
        except Exception:  # noqa: BLE001  # the border of the daemon
            # Python's own code for it is 1, which says "refused": a service manager would leave
            # the daemon where it fell.
            _log.critical("the daemon met an error that it does not know, a bug", exc_info=True)
            return EXIT_BUG
    return EXIT_OK


def clients_at_once(connections: int, *, frames: int, commit_s: float, turn_s: float) -> int:
    """How many clients that wait the next turn serves, told by the last one that committed.

    Blocking clients that are all answered at once all come back at once: they would work while the
    daemon sleeps, and sleep while it works. Answered by halves, one half works meanwhile. That
    costs a second COMMIT, and where it is a long one, as at `full` on a slow disk, all share one.

    Args:
        connections: how many clients there are.
        frames: how many that turn took.
        commit_s: what its COMMIT took.
        turn_s: what all of it took.
    """
    for_all_s = (turn_s - commit_s) / frames * connections
    if connections < 2 * TURN_CLIENTS_MIN or commit_s > for_all_s * CLIENTS_SHARE:
        return DRAIN_FRAMES_MAX
    return (connections + 1) // 2


class StopSignals:
    """Whether a signal asked for a stop, and the descriptor that it wakes."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, number: int, _frame: object) -> None:
        """Note the signal."""
        _log.info("stopping: %s", signal.Signals(number).name)
        self.requested = True


def _collect_garbage_by_hand() -> None:
    """Keep the collector out of the turns, and what is there for good out of the collector."""
    gc.collect()
    gc.freeze()
    gc.disable()


@contextlib.contextmanager
def _stop_signals() -> Iterator[StopSignals]:
    stop = StopSignals()
    before = {
        number: signal.signal(number, stop.request) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Daemon:
    """One run on a home whose lock is held."""

    def __init__(self, home: Home, settings: Settings, stop: StopSignals) -> None:
        self._home = home
        self._settings = settings
        self._stop = stop
        self._boot_id = new_random_id()
        self._started_s = time.monotonic()
        self._turn_began_s = self._drained_s = self._started_s
        self._clients_max = DRAIN_FRAMES_MAX
        self._has_garbage = False
        self._manager = ServiceManager(os.environ)
        self._inherited = inherited_sockets(os.environ)
        if self._inherited is None:
            refuse_held_sockets(home)
        self._figures = Figures()
        self._lock_wait = LockWait(home, lambda: stop.requested)
        connection = open_database(home, self._lock_wait)
        self._commit = GroupCommit(connection, settings, self._figures)
        self._checkpoints = Checkpoints(
            connection, self._lock_wait, home, wal_bytes_max=settings.wal_bytes_max
        )
        self._files = FileGuard(connection, home)
        self._writer = Writer(
            self._commit,
            self._figures,
            boot_id=self._boot_id,
            durability=settings.durability,
            status=self._status,
        )

    def run(self) -> None:
        """Serve until asked to stop, then leave everything in order.

        Raises:
            StorageFailed: the disk failed. The ledger tells what was kept when the next one starts.
        """
        with self._socket_directory() as directory:
            sockets = Sockets(directory, self._figures, self._inherited)
            before = signal.set_wakeup_fd(sockets.wakeup_sender.fileno())
            try:
                self._announce(sockets)
                _collect_garbage_by_hand()
                self._turn_until_stopped(sockets)
                self._manager.stopping()
                self._answer_what_has_arrived(sockets)
            finally:
                signal.set_wakeup_fd(before)
                self._remove_discovery()
                sockets.close()
        self._commit.write_running_time()
        self._checkpoints.run_at_stop()
        self._commit.close()
        _log.info("stopped after %d commands", self._figures.commands_total)

    def _socket_directory(self) -> contextlib.AbstractContextManager[Path]:
        if self._inherited is not None:
            return contextlib.nullcontext(self._inherited.directory)
        return socket_directory(self._home)

    def _remove_discovery(self) -> None:
        # Inherited sockets take connections for the next daemon, so clients must find them.
        if self._inherited is None:
            remove_discovery(self._home)

    def _announce(self, sockets: Sockets) -> None:
        discovery = Discovery(
            pid=os.getpid(),
            boot_id=self._boot_id,
            version=__version__,
            protocol=PROTOCOL,
            command=sockets.command_endpoint,
            changes=sockets.changes_endpoint,
        )
        left = read_discovery(self._home)
        if left is not None and left.pid != os.getpid():
            _log.info("%s of pid %d was still here", self._home.discovery, left.pid)
        try:
            write_discovery(self._home, discovery)
        except OSError as error:
            raise StartRefused(
                f"{self._home.discovery} cannot be written: {error.strerror}; make room, or see"
                " what is wrong with the directory"
            ) from error
        _log.info(
            "luludb %s serves %s (pid %d, durability %s, SQLite %s)",
            __version__,
            self._home.path,
            os.getpid(),
            self._settings.durability,
            apsw.sqlite_lib_version(),
            extra={"fields": {"event": "serving", "boot_id": self._boot_id}},
        )
        self._manager.ready()

    def _turn_until_stopped(self, sockets: Sockets) -> None:
        guard_s = housekeeping_s = alive_s = self._started_s
        poll_ms = min(POLL_MS_MAX, self._manager.alive_ms)
        look_ms = 0.0
        while not self._stop.requested:
            before_s = time.monotonic()
            if sockets.wait(poll_ms, look_ms=look_ms):
                now_s = time.monotonic()
                # Where the last frames came soon, the next ones will, and to be woken for them
                # takes longer than to look for them.
                look_ms = LOOK_MS_MAX if now_s - before_s < LOOK_MS_MAX / 1000 else 0.0
                self._note_queue_wait(before_s, now_s)
                self._turn(sockets, self._clients_max)
            else:
                self._drained_s = self._turn_began_s = time.monotonic()  # nothing waited until now
                look_ms = 0.0
            now_s = time.monotonic()
            if now_s >= alive_s:
                alive_s = now_s + poll_ms / 1000
                self._manager.alive()
            if now_s >= guard_s:
                guard_s = now_s + GUARD_S
                if self._has_garbage:
                    self._has_garbage = False
                    gc.collect()
                self._files.check(self._checkpoints.wal_bytes_min)
                self._checkpoints.shrink()
            if now_s >= housekeeping_s:
                housekeeping_s = now_s + HOUSEKEEPING_S
                self._commit.forget_unused_clients()

    def _turn(self, sockets: Sockets, clients_max: int, refusal: LuludbError | None = None) -> None:
        before_s, self._turn_began_s = self._turn_began_s, time.monotonic()
        waits_total = self._lock_wait.waits_total
        self._has_garbage = True
        turn = self._writer.turn(
            sockets.drain(), refusal or self._checkpoints.overload(), clients_max=clients_max
        )
        # What is left came after the drain before, or that one would have taken it.
        self._drained_s = self._turn_began_s if turn.took_all else before_s
        if turn.compaction is not None:
            self._files.note_compaction(turn.compaction.database_bytes)
        if turn.batches:
            # SQLite reports success to a file that is no longer there.
            self._files.check_places()
        sockets.send(turn.replies)
        sockets.publish(turn.batches)
        if self._lock_wait.waits_total > waits_total:
            self._clients_max = DRAIN_FRAMES_MAX  # each half would wait for the lock by itself
        elif turn.batches:
            self._clients_max = clients_at_once(
                self._figures.connections,
                frames=len(turn.replies),
                commit_s=self._figures.commit_ms.newest / 1000,
                turn_s=time.monotonic() - self._turn_began_s,
            )
        if turn.compaction is not None and turn.compaction.is_at_its_end:
            # Only a checkpoint makes the file shorter, and no commit may follow to bring one about.
            self._checkpoints.run()
        else:
            self._checkpoints.run_if_due()

    def _note_queue_wait(self, before_s: float, now_s: float) -> None:
        """Note how long the oldest frame may have waited: since the last drain, or not at all."""
        if (now_s - before_s) * 1000 > FRAMES_WERE_WAITING_MS_MAX:
            self._drained_s = self._turn_began_s = now_s
        self._figures.queue_wait_ms.add((now_s - self._drained_s) * 1000, now_s)

    def _answer_what_has_arrived(self, sockets: Sockets) -> None:
        """Apply what waits, for a moment at the most; refuse what still comes after that."""
        sockets.stop_listening()
        self._remove_discovery()
        until_s = time.monotonic() + STOP_DRAIN_MS_MAX / 1000
        while sockets.wait(STOP_QUIET_MS) and time.monotonic() < until_s:
            self._turn(sockets, DRAIN_FRAMES_MAX)
        if sockets.wait(0):
            late = ShuttingDown("the daemon is stopping; send it again to the next one")
            self._turn(sockets, DRAIN_FRAMES_MAX, late)

    def _status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_s, 3),
            "home": str(self._home.path),
            "database_id": self._commit.database_id,
            "boot_id": self._boot_id,
            "schema_version": schema.SCHEMA_VERSION,
            "sqlite_version": apsw.sqlite_lib_version(),
            "durability": self._settings.durability,
            "first_rev": self._commit.first_rev,
            "last_rev": self._commit.last_rev,
            "clients": self._commit.clients.registered,
            **self._figures.body(time.monotonic()),
            "foreign_writer_waits_total": self._lock_wait.waits_total,
            "wal_bytes": self._checkpoints.wal_bytes(),
            "checkpoints_total": self._checkpoints.total,
            "last_checkpoint": self._checkpoints.last_at,
            "open_files": open_files(),
            "rss_bytes": resident_bytes(),
        }
