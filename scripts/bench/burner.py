"""One process that takes as much processor time as another one did, as often, and does nothing.

Run by a crowd as `python -m scripts.bench.burner ''`. It prints `ready` and takes lines:

    burn SHARE TIMES               how much of a processor it takes, and how often a second it
                                   wakes up to take it; the answer is `null`
    go START_NS FROM_NS END_NS     does so from START to END, of the machine's monotonic clock; the
                                   answer is an empty Share
"""

from __future__ import annotations

import sys
import time
from array import array

from scripts.bench.share import Share, send_share


def burn(*, share: float, times_a_second: float, start_ns: int, end_ns: int) -> None:
    """Wake up at even intervals, and each time catch up with the time that is to be taken.

    What the waking up itself takes counts, so that the sum is right whatever that is.
    """
    time.sleep(max(0, start_ns - time.perf_counter_ns()) / 1e9)
    begun_s = time.process_time()
    interval_ns = 1e9 / times_a_second
    turn = 0
    while (now_ns := time.perf_counter_ns()) < end_ns:
        until_s = begun_s + share * (now_ns - start_ns) / 1e9
        while time.process_time() < until_s:
            pass
        # Never behind: who woke up late does not make up for it by waking up more often.
        turn = max(turn + 1, int((time.perf_counter_ns() - start_ns) / interval_ns) + 1)
        time.sleep(max(0.0, start_ns + turn * interval_ns - time.perf_counter_ns()) / 1e9)


def main() -> None:
    """Do what the lines of standard input say until it ends."""
    share = times_a_second = 0.0
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["burn", share_text, times_text]:
                share, times_a_second = float(share_text), float(times_text)
                print("null", flush=True)
            case ["go", start_ns, _, end_ns]:
                burn(
                    share=share,
                    times_a_second=max(1.0, times_a_second),
                    start_ns=int(start_ns),
                    end_ns=int(end_ns),
                )
                send_share(Share(0, 1.0, array("d"), {}))
            case other:
                raise ValueError(f"line is {other!r}")


if __name__ == "__main__":
    main()
