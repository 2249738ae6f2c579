"""Runs a command for each session that fails.

    python examples/supervisor.py --state FILE --command './agent --resume "$LULUDB_SESSION"'

The command gets the session's id as LULUDB_SESSION and the home as LULUDB_HOME. The status is set
here and not by the command: `running` while it runs, then `completed` or, where its exit code is
not 0, `failed`; then it is run again after growing pauses, up to `--attempts` times in the
session's life. At its first start it also looks after the sessions that have failed before.

Several supervisors may serve one home, each with a FILE of its own. An attempt begins with a
message whose id is made of the session's and the attempt's number, and the same transaction sets
the status. luludb applies that for one of them, and the others get AlreadyExists.

Each attempt is made at least once: FILE has the rev up to which all is done. After a kill -9, the
next one that is started with FILE (and no other) goes on there, and makes again what was cut short.
Before that it waits for commands that outlived the kill: they inherited the lock on FILE.lock.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from luludb_client import (
    AlreadyExists,
    AsyncClient,
    Busy,
    ChangesPruned,
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    NotFound,
    OutcomeUnknown,
)


class Supervisor:
    """Invariant: all changes up to the rev in the file were handled."""

    def __init__(self, client: AsyncClient, args: argparse.Namespace, lock: int) -> None:
        self.client, self.args, self.lock = client, args, lock
        self.name = str(args.state.resolve())
        self.slots = asyncio.Semaphore(args.jobs)
        self.turns = WeakValueDictionary[str, asyncio.Lock]()  # one for each session at work
        self.open: dict[asyncio.Task[None], int] = {}  # the rev that led to each task
        self.seen_rev = -1

    async def follow(self, tasks: asyncio.TaskGroup) -> None:
        place = read_place(self.args.state)
        watch = self.client.watch(after_rev=place)  # before the reading, so that none is missed
        if place is not None:
            self.seen_rev = place
        for status in ("failed", "running") if place is None else ():
            with suppress(DaemonUnavailable):  # there is no database yet
                for session in await self.client.list_sessions(status=status, limit=1_000_000):
                    self.begin(tasks, session.id, rev=0)
        say(f"follows {self.client.home}")
        async for change in watch:
            if change.op in ("session.create", "session.update"):
                if await self.status(change.session_id) in ("failed", "running"):
                    self.begin(tasks, change.session_id, rev=change.rev)
                self.keep_place(change.rev)

    def begin(self, tasks: asyncio.TaskGroup, session_id: str, *, rev: int) -> None:
        task = tasks.create_task(self.look_after(session_id))
        self.open[task] = rev
        task.add_done_callback(self.done)

    def done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            del self.open[task]
            self.keep_place(self.seen_rev)

    def keep_place(self, seen_rev: int) -> None:
        self.seen_rev = seen_rev
        place = min(self.open.values(), default=seen_rev + 1) - 1
        if place >= 0:  # else something is left of what was there at the first start
            aside = self.args.state.with_name(f"{self.args.state.name}.new")
            aside.write_text(f"{place}\n")
            aside.replace(self.args.state)

    async def look_after(self, session_id: str) -> None:
        """Do what the session needs now, whatever it was that led here."""
        async with self.turns.setdefault(session_id, asyncio.Lock()):
            # First the attempts, then the status: whoever else makes the next attempt in between
            # has changed both, so that the status is not `failed` here or the claim is refused.
            number, text = 0, ""
            while claim := await self.client.get_message(claim_id(session_id, number + 1)):
                number, text = number + 1, claim.content
            status = await self.status(session_id)
            if status == "failed" and 0 < number < self.args.attempts:
                await asyncio.sleep(min(self.args.pause * 2 ** (number - 1), 600))
            async with self.slots:
                if status == "running" and text == self.claim_text(number):
                    say(f"{session_id}: attempt {number} was cut short, and is made again")
                    await self.run(session_id, number)
                elif status == "failed" and number < self.args.attempts:
                    status = await self.status(session_id)  # it may be another after the pause
                    if status == "failed" and await self.claim(session_id, number + 1):
                        await self.run(session_id, number + 1)

    async def status(self, session_id: str) -> str:
        session = await self.client.get_session(session_id)
        return session.status if session else "deleted"

    def claim_text(self, number: int) -> str:
        """The claim's content for as long as the attempt is not over."""
        return f"attempt {number} by {self.name}"

    async def claim(self, session_id: str, number: int) -> bool:
        """Whether this supervisor is the one that makes the attempt."""
        id = claim_id(session_id, number)

        async def write() -> None:
            async with self.client.transaction() as together:
                together.append_message(session_id, "supervisor", self.claim_text(number), id=id)
                together.update_session_status(session_id, "running")

        with suppress(AlreadyExists, NotFound):
            await insist(write)
        # It is not concluded from the error: where an answer was lost, its own claim exists.
        claim = await self.client.get_message(id)
        return claim is not None and claim.content == self.claim_text(number)

    async def run(self, session_id: str, number: int) -> None:
        say(f"{session_id}: attempt {number} of {self.args.attempts} begins")
        process = await asyncio.create_subprocess_shell(
            self.args.command,
            env={**os.environ, "LULUDB_SESSION": session_id, "LULUDB_HOME": str(self.client.home)},
            start_new_session=True,  # a process group, which can be ended as a whole
            pass_fds=[self.lock],
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:  # the status stays, and the next start makes it again
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            await process.wait()
            raise
        status = "failed" if code else "completed"
        say(f"{session_id}: attempt {number} of {self.args.attempts} {status}, exit code {code}")
        text = f"{self.claim_text(number)}: {status}, exit code {code}"

        async def write() -> None:
            async with self.client.transaction() as together:
                together.update_message(claim_id(session_id, number), text)
                together.update_session_status(session_id, status)

        with suppress(NotFound):  # the session was deleted
            await insist(write)


async def insist(write: Callable[[], Awaitable[object]]) -> None:
    """Write until there is an answer: a daemon that is away only costs time."""
    while True:
        try:
            await write()
            return
        except (Busy, DaemonUnavailable, DiskFull, OutcomeUnknown) as error:
            say(str(error))
            await asyncio.sleep(1)


def claim_id(session_id: str, number: int) -> str:
    # Of a fixed length: a session's id may be as long as any id.
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"luludb:attempt:{number}:{session_id}"))


def read_place(state: Path) -> int | None:
    try:
        return int(state.read_text())
    except (FileNotFoundError, ValueError):  # the first start; or what a power cut left is empty
        return None


def say(text: str) -> None:
    print(f"supervisor: {text}", file=sys.stderr, flush=True)


def take_lock(state: Path) -> int:
    lock = os.open(f"{state}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{state} is in use by a supervisor, or by commands of one that was killed; waiting")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


async def supervise(args: argparse.Namespace, lock: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncClient(args.home) as client, asyncio.TaskGroup() as tasks:
        await Supervisor(client, args, lock).follow(tasks)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs a command for each session that fails.")
    parser.add_argument("--command", required=True, help="for the shell")
    parser.add_argument("--state", type=Path, required=True, help="the file that keeps the place")
    parser.add_argument("--attempts", type=int, default=5, help="at most, for each session")
    parser.add_argument("--pause", type=float, default=1, help="seconds before the second attempt")
    parser.add_argument("--jobs", type=int, default=4, help="commands that run at once, at most")
    parser.add_argument("--home", help="the directory of the database; else LULUDB_HOME")
    args = parser.parse_args()
    try:
        lock = take_lock(args.state)
        while True:
            try:
                asyncio.run(supervise(args, lock))
            except* (ChangesPruned, DataLoss) as errors:
                # It was away for too long, or a backup was restored, and the place says nothing
                # any more. A client that lost data is at its end, too. So all begins anew.
                say(" ".join(str(error) for error in errors.exceptions))
                args.state.unlink(missing_ok=True)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


if __name__ == "__main__":
    sys.exit(main())
