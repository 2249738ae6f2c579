"""What one client did in one run, and its form on the pipe to the benchmark."""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.bench.processes import Running


@dataclass(frozen=True, slots=True)
class Share:
    """What one client did, without the warm-up.

    Attributes:
        acknowledged: messages; of a reader, reads.
        seconds: in which they were.
        latencies_ms: of its calls, failed ones too.
        errors: failed calls by code, those of the warm-up too.
    """

    acknowledged: int
    seconds: float
    latencies_ms: array[float]
    errors: Mapping[str, int]


def send_share(share: Share) -> None:
    """Write it to standard output: a line of JSON, then the latencies as C doubles."""
    header = {
        "acknowledged": share.acknowledged,
        "seconds": share.seconds,
        "latencies": len(share.latencies_ms),
        "errors": share.errors,
    }
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + share.latencies_ms.tobytes())
    sys.stdout.buffer.flush()


def receive_share(client: Running, deadline_s: float) -> Share:
    """Read it from a client.

    Raises:
        ProcessFailed: nothing came before `deadline_s` of the monotonic clock.
    """
    header = json.loads(client.read_line(deadline_s))
    latencies_ms = array("d")
    latencies_ms.frombytes(client.read_bytes(header["latencies"] * latencies_ms.itemsize))
    errors = Counter(header["errors"])
    return Share(header["acknowledged"], header["seconds"], latencies_ms, errors)
