"""What a turn of the daemon pays for change notices that nobody listens to.

Run as `python -m scripts.bench.notices DIRECTORY` it opens the daemon's sockets there, prints
`ready`, takes a line to begin, and prints the microseconds of a turn as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from luludb.daemon.figures import Figures
from luludb.daemon.sockets import Sockets
from luludb.tables.changes import ChangeRow
from scripts.bench.processes import running

ROUNDS = 15
TURNS = 4000
CHANGES = 16  # of a batch
ANSWER_S_MAX = 60.0


def notice_step_us(directory: Path) -> float:
    """Microseconds of a turn: the poll's share of the changes' socket, and the publishing."""
    with running("scripts.bench.notices", str(directory)) as process:
        process.tell("go")
        return float(json.loads(process.read_line(time.monotonic() + ANSWER_S_MAX)))


def measure(sockets: Sockets) -> float:
    """The median of the rounds of what a turn takes with the step less what it takes without."""
    batch: list[ChangeRow] = [(rev, "message.append", "s", "m", "") for rev in range(CHANGES)]
    batches = [batch]

    def with_step() -> None:
        sockets.wait(0)
        sockets.publish(batches)

    def without_step() -> None:
        sockets.wait(0)

    differences = []
    poller, changes = sockets._poller, sockets._changes
    for _ in range(ROUNDS):
        whole_us = _turn_us(with_step)
        poller.unregister(changes)
        bare_us = _turn_us(without_step)
        poller.register(changes, zmq.POLLIN)
        differences.append(whole_us - bare_us)
    return statistics.median(differences)


def _turn_us(step: Callable[[], None]) -> float:
    began_s = time.process_time()
    for _ in range(TURNS):
        step()
    return (time.process_time() - began_s) / TURNS * 1e6


def main() -> None:
    """Measure in the directory of the first argument."""
    sockets = Sockets(Path(sys.argv[1]), Figures())
    try:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(measure(sockets)), flush=True)
    finally:
        sockets.close()


if __name__ == "__main__":
    main()
