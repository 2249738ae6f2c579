"""Many lives of a writer on a disk that loses power, each held against all that was answered.

A run is one database and the lives on it. In each life random commands go through the real
writer until the machine loses power, or the process is killed, inside a chosen write or sync. The
next life opens what survived, looks at every row and every kept reply, and goes on from there.
"""

from __future__ import annotations

import itertools
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from luludb.daemon import checkpoints as checkpoints_module
from luludb.daemon.checkpoints import Checkpoints
from luludb.daemon.guards import leave_failure
from luludb.errors import StartRefused, StorageFailed
from luludb.home import Home
from tests.crash.power import Disk, power_disk
from tests.crash.power_commands import random_command
from tests.crash.power_model import DONE, Model, Step, found_model
from tests.crash.progress import Tell, tell_nobody
from tests.unit.turns import Clock, Peer, WriterUnderTest, integrity

LIVES_A_RUN = 20
PEERS = 4
OPERATIONS_OF_A_START = 60
OPERATIONS_A_LIFE_MAX = 400
PAGES_BETWEEN_CHECKPOINTS = 25
WAL_BYTES_MAX = 1 << 30


@dataclass(slots=True)
class PowerFigures:
    """What was done, and what was lost of it."""

    cuts: int = 0
    kills: int = 0
    failed_syncs: int = 0
    cuts_in_a_sync: int = 0
    checkpoints: int = 0
    acknowledged: int = 0
    repeated: int = 0
    cuts_that_lost: int = 0
    acknowledged_lost: int = 0


@dataclass(slots=True)
class Batch:
    """The steps of one turn, in order, and whether its replies were received."""

    steps: list[Step]
    acknowledged: bool = False


@dataclass(slots=True)
class Sender:
    """A peer with all the frames that it may have to send again, and the first reply to each."""

    peer: Peer
    sent: dict[int, tuple[Step, tuple[bytes, bytes]]] = field(default_factory=dict)
    replies: dict[int, list[Any]] = field(default_factory=dict)


class Run:
    """One database, from its first life to its last."""

    def __init__(
        self, disk: Disk, durability: str, chance: random.Random, figures: PowerFigures
    ) -> None:
        self._disk = disk
        self._durability = durability
        self._chance = chance
        self._figures = figures
        self._names = itertools.count()
        self._senders = [self._new_sender() for _ in range(PEERS)]
        self._model = Model()
        self._batches: list[Batch] = []
        self._durable = 0  # so many of the batches survive a loss of power
        self._lost_power = False

    def live(self) -> None:
        """Live once: open, check what survived, and work until the end."""
        short = self._chance.random() < 0.3  # inside the opening, or soon after it
        operations = OPERATIONS_OF_A_START if short else OPERATIONS_A_LIFE_MAX
        if self._chance.random() < 0.2:
            self._disk.fail_sync_after(self._chance.randint(1, operations))
        self._disk.end_after(
            self._chance.randint(1, operations), in_a_sync=self._chance.random() < 0.2
        )
        try:
            writer = WriterUnderTest(self._disk.directory, Clock(), durability=self._durability)
        except (StorageFailed, StartRefused):
            assert self._disk.has_failed, "a start failed on a disk that works"
        else:
            self._live_on(writer)
        self._end()

    def look_at_last(self) -> None:
        """Open once more, and check."""
        writer = WriterUnderTest(self._disk.directory, Clock(), durability=self._durability)
        try:
            self._look(writer)
        finally:
            writer.crash()

    def _live_on(self, writer: WriterUnderTest) -> None:
        try:
            self._look(writer)
            self._work(writer)
        except StorageFailed:
            assert self._disk.has_failed, "storage failed on a disk that works"
        finally:
            writer.crash()

    # What survived.

    def _look(self, writer: WriterUnderTest) -> None:
        assert integrity(writer.connection) == "ok"
        found = found_model(writer.connection)
        survived, model = self._surviving_batches(found)
        assert found == model
        assert list(found.messages) == list(model.messages), "the order of messages"
        assert writer.commit.last_rev == len(model.changes)
        lost = sum(len(each.steps) for each in self._batches[survived:] if each.acknowledged)
        self._figures.acknowledged_lost += lost
        self._figures.cuts_that_lost += bool(lost)
        del self._batches[survived:]
        # From its first answer on, what a starting daemon recovered is durable.
        self._durable = survived
        self._lost_power = False
        self._model = model
        self._replace_who_lost(model)
        for sender in self._senders:
            if sender.peer.client_id in model.clients:
                self._ask_again(writer, sender, model.clients[sender.peer.client_id])

    def _surviving_batches(self, found: Model) -> tuple[int, Model]:
        """How many of the batches are there, and the rows after them."""
        least = self._durable
        if not self._lost_power:  # the death of a process loses nothing that was acknowledged
            acknowledged = (i for i, each in enumerate(self._batches, 1) if each.acknowledged)
            least = max(acknowledged, default=0)
        model = Model()
        for count in range(len(self._batches) + 1):
            if count >= least and model.clients == found.clients:
                return count, model
            for step in self._batches[count].steps if count < len(self._batches) else ():
                model.apply(step)
        raise AssertionError(
            f"what survived is no beginning of the {len(self._batches)} batches of which {least}"
            f" were safe: {found.clients} instead of {model.clients}"
        )

    def _replace_who_lost(self, model: Model) -> None:
        """A client that learns of lost writes is done; another takes its place."""
        for index, sender in enumerate(self._senders):
            last_seq = model.clients.get(sender.peer.client_id, 0)
            if last_seq < max(sender.replies, default=0):
                self._senders[index] = self._new_sender()
                continue
            for seq in [seq for seq in sender.sent if seq > last_seq]:
                del sender.sent[seq]
            sender.peer.seq = last_seq

    def _ask_again(self, writer: WriterUnderTest, sender: Sender, last_seq: int) -> None:
        peer = sender.peer
        (hello,) = writer.turn(peer.hello())
        assert (hello[3]["registered"], hello[3]["last_seq"]) == (False, last_seq)
        for seq in range(peer.acked + 1, last_seq + 1):
            (reply,) = writer.turn(sender.sent[seq][1])
            assert reply[2] in (0, 1)
            assert reply[3].get("code") not in ("out_of_order", "sequence_reused"), reply
            assert reply == sender.replies.setdefault(seq, reply), "another reply than the first"
            self._figures.repeated += 1

    # What goes on.

    def _work(self, writer: WriterUnderTest) -> None:
        home = Home(self._disk.directory)
        checkpoints = Checkpoints(
            writer.connection, writer.lock_wait, home, wal_bytes_max=WAL_BYTES_MAX
        )
        self._greet(writer)
        while True:  # until the disk fails
            self._turn(writer)
            before = checkpoints.total
            checkpoints.run_if_due()
            if self._chance.random() < 0.03:
                checkpoints.run_at_stop()
            self._figures.checkpoints += checkpoints.total - before

    def _greet(self, writer: WriterUnderTest) -> None:
        """Every client says hello; who is new is registered, which is a batch of its own."""
        for sender in self._senders:
            is_new = sender.peer.client_id not in self._model.clients
            if is_new:
                step = Step(sender.peer.client_id, 0, "hello", {})
                self._model.apply(step)
                batch = Batch([step])
                self._batches.append(batch)
            (reply,) = writer.turn(sender.peer.hello())
            assert reply[3]["registered"] == is_new
            if is_new:
                self._acknowledge(batch, full=self._durability == "full")

    def _turn(self, writer: WriterUnderTest) -> None:
        chosen = self._chance.sample(self._senders, self._chance.randint(1, PEERS))
        batch = Batch([])
        frames, expected = [], []
        for sender in chosen:
            for _ in range(self._chance.randint(1, 4)):
                step, frame = self._next(sender)
                expected.append(self._model.apply(step))
                batch.steps.append(step)
                frames.append(frame)
        self._batches.append(batch)
        replies = writer.turn(*frames)
        assert [reply[3].get("code", DONE) for reply in replies] == expected
        self._acknowledge(batch, full=replies[0][3]["durability"] == "full")
        by_id = {sender.peer.client_id: sender for sender in chosen}
        for step, reply in zip(batch.steps, replies, strict=True):
            by_id[step.client_id].replies[step.seq] = reply
        for sender in chosen:  # of some replies the client says that it has them
            peer = sender.peer
            peer.acked = self._chance.randint(max(peer.acked, peer.seq - 12), peer.seq)

    def _next(self, sender: Sender) -> tuple[Step, tuple[bytes, bytes]]:
        op, args = random_command(self._chance, self._model, self._names)
        options = {"durability": "full"} if self._chance.random() < 0.02 else None
        frame = sender.peer.next(op, args, options=options)
        step = Step(sender.peer.client_id, sender.peer.seq, op, args)
        sender.sent[step.seq] = step, frame
        return step, frame

    def _acknowledge(self, batch: Batch, *, full: bool) -> None:
        batch.acknowledged = True
        self._figures.acknowledged += len(batch.steps)
        if full:
            self._durable = len(self._batches)

    def _new_sender(self) -> Sender:
        return Sender(Peer(self._chance.randbytes(4), self._chance.randbytes(16)))

    def _end(self) -> None:
        """The machine lost its power, the process was killed, or it ended over a failed sync."""
        if self._disk.is_on:
            self._figures.failed_syncs += 1
            leave_failure(Home(self._disk.directory), "a sync failed")
            self._disk.restart_after_kill()
        elif self._chance.random() < 0.25:
            self._figures.kills += 1
            self._disk.restart_after_kill()
        else:
            self._figures.cuts += 1
            self._figures.cuts_in_a_sync += self._disk.ended_in_a_sync
            self._lost_power = True
            self._disk.restart_after_power_cut()


def run_power_cuts(
    directory: Path, *, cuts: int, durability: str, seed: int, tell: Tell = tell_nobody
) -> PowerFigures:
    """Cut the power so many times under the real writer, in databases below `directory`.

    Raises:
        AssertionError: something was lost, doubled, or answered otherwise than before.
    """
    chance = random.Random(seed)
    figures = PowerFigures()
    for number in itertools.count():
        if figures.cuts >= cuts:
            return figures
        home = directory / f"run-{number}"
        home.mkdir()
        with (
            power_disk(home, chance) as disk,
            patch.object(checkpoints_module, "CHECKPOINT_PAGES_MIN", PAGES_BETWEEN_CHECKPOINTS),
        ):
            run = Run(disk, durability, chance, figures)
            for _ in range(LIVES_A_RUN):
                if figures.cuts < cuts:
                    run.live()
            run.look_at_last()
        shutil.rmtree(home)
        tell(f"{figures.cuts} of {cuts} cuts; {figures.acknowledged} commands acknowledged")
    raise AssertionError("itertools.count has no end")
