"""Group commit: one transaction for all that a turn was given, its ledger rows and change rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import apsw

from luludb.daemon.clients import Clients
from luludb.daemon.connection import set_synchronous
from luludb.daemon.figures import Figures
from luludb.daemon.seldom import SeldomLog
from luludb.daemon.transaction import BatchLost, OpenTransaction
from luludb.errors import Busy, StorageFailed
from luludb.limits import (
    CHANGES_TRIMMED_MIN,
    CLIENTS_FORGOTTEN_MAX,
    LOCK_WAIT_MS_MAX,
    RUNNING_TIME_WRITTEN_S,
)
from luludb.settings import Settings
from luludb.tables import changes, ledger, meta
from luludb.tables.changes import ChangeRow
from luludb.times import now_text

_log = logging.getLogger(__name__)
_DAY_S = 24 * 60 * 60


class GroupCommit:
    """The write connection between and inside transactions.

    Attributes:
        clients: what is remembered of each client.
        database_id: the random name of this database.
        durability: the level of the transaction that is open, or of the next one.
        first_rev: the oldest rev kept in `lulu_changes`.
        open: the transaction that is open, or None.
        last_rev: the last one committed.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        settings: Settings,
        figures: Figures,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self.clients = Clients(connection)
        self.durability = settings.durability
        self.database_id = str(meta.read(connection, "database_id"))
        self.first_rev = int(meta.read(connection, "first_rev"))
        self.last_rev = int(meta.read(connection, "last_rev"))
        self._settings = settings
        self._figures = figures
        self._seldom = SeldomLog(_log)
        self._clock = clock
        self._started_s = clock()
        self._running_s_before = int(meta.read(connection, "running_s") or 0)
        self._running_s_written = self._running_s_before
        self._synchronous_full: bool | None = None
        self.open: OpenTransaction | None = None

    @property
    def rev(self) -> int:
        """The last rev given, committed or not."""
        return self.open.rev if self.open else self.last_rev

    def running_s(self) -> int:
        """How many seconds daemons have run on this database, by no wall clock.

        Written now and then, so after kill -9 it is a little behind: nobody is forgotten early.
        """
        return self._running_s_before + int(self._clock() - self._started_s)

    def begin(self) -> OpenTransaction:
        """The open transaction; it is begun if there is none.

        Raises:
            BatchLost: another program holds the lock.
        """
        if self.open is not None:
            return self.open
        full = self.durability == "full"
        if self._synchronous_full != full:
            set_synchronous(self.connection, full=full)
            self._synchronous_full = full
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            raise BatchLost(
                Busy(f"another program held the database's lock for {LOCK_WAIT_MS_MAX} ms")
            ) from error
        self.open = OpenTransaction(
            self.connection, rev=self.last_rev, at=now_text(), durability=self.durability
        )
        return self.open

    def commit(self, commands: int) -> list[ChangeRow]:
        """Write ledger and changes, and COMMIT. Durable when this returns.

        Args:
            commands: how many commands took part, for the figures.

        Returns:
            The change rows, none where no transaction was open.
        """
        transaction = self.open
        if transaction is None:
            self.clients.committed()
            return []
        self.clients.write(self.running_s())
        first_rev = self._write_changes(transaction)
        started_s = self._clock()
        self.connection.execute("COMMIT")
        now_s = self._clock()
        self.open = None
        if first_rev != self.first_rev:
            self._seldom.log(
                logging.INFO, "changes_pruned", f"changes before rev {first_rev} are no longer kept"
            )
        self.first_rev = first_rev
        self.last_rev = transaction.rev
        self.clients.committed()
        self._figures.batches_total += 1
        if commands:  # a batch may hold nothing but a hello
            self._figures.batch_commands.add(commands, now_s)
        self._figures.commit_ms.add((now_s - started_s) * 1000, now_s)
        return transaction.changes

    def undo(self) -> None:
        """Roll back what is open, if SQLite has not done so.

        Raises:
            StorageFailed: that failed too.
        """
        self.open = None
        self.clients.undone()
        if self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK")
            except apsw.Error as error:
                raise StorageFailed(f"ROLLBACK failed: {error}") from error

    def forget_unused_clients(self) -> None:
        """Delete some clients that sent nothing for `client_days_kept` days of running time.

        Where another program holds the lock, or the disk is full, it is left for the next time.

        Raises:
            StorageFailed: the disk failed.
        """
        try:
            self._forget_unused_clients()
        except (BatchLost, apsw.FullError):
            self.undo()
            self.clients.registered = ledger.count_clients(self.connection)
        except apsw.Error as error:
            raise StorageFailed(f"unused clients cannot be forgotten: {error}") from error

    def _forget_unused_clients(self) -> None:
        before_s = self.running_s() - self._settings.client_days_kept * _DAY_S
        unused = ledger.unused_clients(self.connection, before_s, CLIENTS_FORGOTTEN_MAX)
        if not unused:
            return
        self.begin()
        for number, client_id in unused:
            self.clients.forget(client_id, number)
        self.commit(0)
        _log.info(
            "forgot %d clients that sent nothing for %d days of running time",
            len(unused),
            self._settings.client_days_kept,
        )

    def write_running_time(self) -> None:
        """Write how long daemons ran, between transactions.

        Raises:
            StorageFailed: the disk failed.
        """
        try:
            meta.write(self.connection, "running_s", self.running_s())
        except (apsw.BusyError, apsw.FullError):
            return  # what was written before is a little less, so nobody is forgotten early
        except apsw.Error as error:
            raise StorageFailed(f"the running time cannot be written: {error}") from error

    def close(self) -> None:
        """Close the connection; what is not committed is undone."""
        if self.connection.in_transaction:
            self.undo()
        self.connection.close()

    def _write_changes(self, transaction: OpenTransaction) -> int:
        """Add the change rows and delete the oldest beyond what is kept. Returns the first kept."""
        first_rev = self.first_rev
        if transaction.changes:
            changes.add(self.connection, transaction.changes)
            meta.write(self.connection, "last_rev", transaction.rev)
            kept_max = self._settings.changes_kept_max
            if transaction.rev - first_rev + 1 > kept_max:
                # Some room below the bound, so that not every batch touches the oldest pages.
                wanted = transaction.rev + 1 - kept_max + kept_max // 100
                most = max(CHANGES_TRIMMED_MIN, 2 * len(transaction.changes))
                first_rev = min(wanted, first_rev + most)
                changes.delete_below(self.connection, first_rev)
                meta.write(self.connection, "first_rev", first_rev)
        if self.running_s() >= self._running_s_written + RUNNING_TIME_WRITTEN_S:
            self._running_s_written = self.running_s()
            meta.write(self.connection, "running_s", self._running_s_written)
        return first_rev
