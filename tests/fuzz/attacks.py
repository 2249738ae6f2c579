"""Fuzzed frames and garbage connections against a running daemon, beside honest writers."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import zmq

from luludb_client.testing import Daemon, running_daemon
from scripts.load.verify import Verdict, verify
from tests.crash.outages import write_while
from tests.crash.progress import Tell, tell_nobody
from tests.fuzz.frames import fuzzed_frame
from tests.peer import Peer, connected, discovery, request

HONEST_PROCESSES = 4
ROUND_S = 3.0
FRAMES_AT_ONCE = 200
CONNECTION_DEADLINE_S = 10.0
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL".ljust(56, b"\0")
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


@dataclass(frozen=True, slots=True)
class Attack:
    """What an attack did to the daemon and to the honest writers beside it.

    Attributes:
        seed: of what was sent.
        frames: how many were sent inside ZeroMQ's framing.
        applied: how many of them were commands that the daemon took.
        connections: how many sent garbage below it.
        growth_bytes: of the daemon's resident memory.
        seconds: how long it took.
        verdict: what the honest writers found.
    """

    seed: int
    frames: int
    applied: int
    connections: int
    growth_bytes: int
    seconds: float
    verdict: Verdict

    @property
    def is_survived(self) -> bool:
        """Whether the honest writers lost nothing; what a fuzzed frame wrote counts as nothing."""
        found = self.verdict
        wrong = found.lost + found.changed + found.doubled + found.out_of_order
        return not (wrong or found.damage or found.errors.total() or found.unfinished_writers)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.frames} frames ({self.applied} of them applied) and"
            f" {self.connections} garbage connections in {self.seconds:.0f} s; resident memory"
            f" grew by {self.growth_bytes / 2**20:.1f} MiB; {self.verdict}"
        )


class Fuzzer:
    """A DEALER that sends what nobody should, for a client that said hello and for one unknown."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self._home = home
        self._chance = chance
        self.sent = 0
        self.applied = 0

    def send(self, count: int) -> None:
        """Send `count` frames over a connection of their own, and read every reply."""
        chance = self._chance
        with connected(self._home) as peer:
            for _ in range(count):
                client_id = peer.client_id if chance.random() < 0.8 else os.urandom(16)
                # Mostly the seq whose turn it is, so that the daemon looks at what is behind it.
                seq = peer.seq + chance.choice((1, 1, 1, 0, 2))
                frame = fuzzed_frame(client_id, seq, chance)
                shapes = ([frame], [b"", frame], [frame, frame], [b""] * 3)
                peer.socket.send_multipart(chance.choices(shapes, (9, 1, 1, 1))[0])
                if chance.random() < 0.5:
                    self._read(peer)
            self._read(peer)
            self.sent += count

    def _read(self, peer: Peer) -> None:
        """Read every reply to what was sent."""
        # The daemon deals with one connection's frames in order, so this refusal is the last one.
        peer.socket.send(request(peer.client_id, 0, "ping", {"the end": 1}))
        while b"the end" not in (frame := peer.socket.recv_multipart()[-1]):
            _, seq, status, body = msgpack.unpackb(frame, strict_map_key=False)
            if "durability" in body or "replies" in body:
                peer.seq = max(peer.seq, seq + len(body.get("replies", [0])) - 1)
            self.applied += status == 0 and seq > 0


class Garbler:
    """Makes connections whose bytes are no ZeroMQ, or begin as if they were."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self._home = home
        self._chance = chance
        self.made = 0

    def connect(self) -> None:
        """Make one connection, to one of both sockets in turn."""
        endpoint = discovery(self._home)[("command", "changes")[self.made % 2]]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONNECTION_DEADLINE_S)
            connection.connect(endpoint.removeprefix("ipc://"))
            # One that the daemon closes while it is still spoken to is as it should be.
            with contextlib.suppress(ConnectionError):
                connection.sendall(self._bytes())
                if self._chance.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(4096)
        self.made += 1

    def _bytes(self) -> bytes:
        chance = self._chance
        noise = chance.randbytes(chance.randrange(2000))
        start = GREETING + READY
        match chance.randrange(6):
            case 0:
                return noise
            case 1:
                return start[: chance.randrange(len(start))]
            case 2:
                spoilt = bytearray(start)
                spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
                return bytes(spoilt) + noise
            case 3:
                return start + b"\x02" + b"\x7f" + bytes(7) + noise  # a frame of many exabytes
            case 4:
                return start + b"\x01\x00" * chance.randrange(1, 500)  # a message without an end
        return start + noise


def attack(
    frames: int,
    connections: int,
    *,
    seed: int,
    seconds: float = 0.0,
    tell: Tell = tell_nobody,
) -> Attack:
    """Send so many fuzzed frames, and make so many garbage connections, beside honest writers.

    With `seconds` it goes on at the same proportion until they are over.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lulu-fuzz-") as name, running_daemon(name) as daemon:
        fuzzer, garbler = Fuzzer(daemon.home, chance), Garbler(daemon.home, chance)

        began_s = time.monotonic()

        def is_going_on() -> bool:
            fuzzer.send(FRAMES_AT_ONCE)
            while garbler.made * frames < fuzzer.sent * connections:
                garbler.connect()
            tell(f"{fuzzer.sent} frames, {garbler.made} garbage connections")
            return fuzzer.sent < frames or time.monotonic() - began_s < seconds

        growth_bytes, verdict = beside_honest_writers(daemon, is_going_on, seed=seed)
    return Attack(
        seed=seed,
        frames=fuzzer.sent,
        applied=fuzzer.applied,
        connections=garbler.made,
        growth_bytes=growth_bytes,
        seconds=time.monotonic() - began_s,
        verdict=verdict,
    )


def beside_honest_writers(
    daemon: Daemon, is_going_on: Callable[[], bool], *, seed: int
) -> tuple[int, Verdict]:
    """Call `is_going_on` until it is false, while honest writers write; then stop the daemon.

    Returns:
        How much the daemon's memory grew meanwhile, and what the honest writers found.
    """
    # A first round of honest writing: what that takes is not the attack's.
    journals = write_while(
        daemon.home, lambda: False, seed=seed, round_s=1.0, processes=HONEST_PROCESSES
    )
    before_bytes = resident_bytes(daemon.home)
    journals += write_while(
        daemon.home, is_going_on, seed=seed, round_s=ROUND_S, processes=HONEST_PROCESSES
    )
    growth_bytes = resident_bytes(daemon.home) - before_bytes
    daemon.stop()
    return growth_bytes, verify(daemon.home / "lulu.db", journals)


def resident_bytes(home: Path) -> int:
    """The daemon's resident memory, as it tells it."""
    with connected(home, hello=False) as peer:
        return int(peer.status()["rss_bytes"])


def deaf_dealer(context: Any, home: Path) -> Any:
    """A DEALER that takes one reply and then reads no more from its connection."""
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.rcvhwm = 1
    dealer.sndtimeo = 20_000
    dealer.setsockopt(zmq.RCVBUF, 4096)
    dealer.connect(discovery(home)["command"])
    return dealer
