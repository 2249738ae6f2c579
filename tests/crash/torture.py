"""The crash tests in full, behind `scripts/torture`: each prints its seed and its figures.

The tests run a short form of the same functions.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from luludb_client.testing import Daemon
from tests.crash.backups import back_up_under_writers
from tests.crash.chaos import run_chaos
from tests.crash.guards import GUARDS
from tests.crash.outages import interrupt_repeatedly, new_seed
from tests.crash.progress import NowAndThen
from tests.crash.standstill import stand_still
from tests.crash.taking_out import GuardError, take_out_each

FAILED = 1
INTERRUPTED = 130
HISTORY_RUN_S = 30.0  # a history is held in memory while it is checked
FRAMES_A_CONNECTION = 10
PROGRESS_S = 15.0  # between lines that say how far it is


class Failed(Exception):
    """Is raised where a promise was not kept; what was found is printed already."""


def history(count: int | None, seconds: float | None, seed: int) -> None:
    """Clients, daemon and chaos, checked every half a minute; --seconds in all (300)."""
    del count
    until_s = time.monotonic() + (seconds or 300.0)
    while (left_s := until_s - time.monotonic()) > 0:
        say(f"seed {seed}")
        report, happened = run_chaos(min(left_s, HISTORY_RUN_S), seed=seed)
        say(f"{dict(happened)}: {report}")
        require(not report.findings)
        seed += 1


def kills(count: int | None, seconds: float | None, seed: int) -> None:
    """kill -9 under 16 writers, --count times (200)."""
    del seconds
    outages = interrupt_repeatedly(Daemon.kill, count or 200, seed=seed, tell=progress())
    say(f"kills: {outages}")
    require(outages.verdict.is_good)


def restarts(count: int | None, seconds: float | None, seed: int) -> None:
    """SIGTERM and a new start under 16 writers, --count times (50)."""
    del seconds
    outages = interrupt_repeatedly(Daemon.stop, count or 50, seed=seed, tell=progress())
    say(f"restarts: {outages}")
    require(outages.verdict.is_good)


def standstill(count: int | None, seconds: float | None, seed: int) -> None:
    """Clients stopped in the middle of blocking and pipelined writes, for --seconds (60)."""
    del count
    found = stand_still(seconds or 60.0, seed=seed, tell=progress())
    say(f"standstill: {found}")
    require(not found.report.findings and not found.report.unanswered)


def fuzz(count: int | None, seconds: float | None, seed: int) -> None:
    """--count fuzzed frames (10,000) and a tenth of that garbage connections, for --seconds."""
    from tests.fuzz.attacks import attack
    from tests.fuzz.test_fuzz_daemon import GROWTH_BYTES_MAX

    frames = count or 10_000
    found = attack(
        frames,
        frames // FRAMES_A_CONNECTION,
        seed=seed,
        seconds=seconds or 0.0,
        tell=progress(),
    )
    say(f"fuzz: {found}")
    require(found.is_survived and found.growth_bytes < GROWTH_BYTES_MAX)


def power(count: int | None, seconds: float | None, seed: int) -> None:
    """--count power cuts (1,000) at each durability."""
    del seconds
    from tests.crash.power_runs import run_power_cuts

    for durability in ("full", "normal"):
        with tempfile.TemporaryDirectory(prefix="lulu-power-") as name:
            found = run_power_cuts(
                Path(name), cuts=count or 1000, durability=durability, seed=seed, tell=progress()
            )
        say(f"power at {durability}: seed {seed}: {found}")


def syscalls(count: int | None, seconds: float | None, seed: int) -> None:
    """Every system call that writes fails once, in every way, with --count commands (20)."""
    del seconds, seed
    from tests.crash.sweeps import sweep_all

    say(f"syscalls: {sweep_all(count or 20, progress())}")


def backup(count: int | None, seconds: float | None, seed: int) -> None:
    """Backups of 300 MB under 16 writers, --count rounds (5): what is in them, what they cost."""
    del seconds
    found = back_up_under_writers(count or 5, seed=seed, tell=progress())
    say(f"backup: {found}")
    require(found.is_light)


def prune(count: int | None, seconds: float | None, seed: int) -> None:
    """Half of --count messages (1,000,000) pruned, and compacted, beside 8 writers."""
    from tests.crash.pruning import conversations_of_all_lengths, prune_under_load

    found = prune_under_load(
        conversations_of_all_lengths(seed),
        count or 1_000_000,
        writers=8,
        round_s=seconds or 15.0,
        tell=progress(),
    )
    say(f"prune:\n{found}")
    require(not found.findings)


def watch(count: int | None, seconds: float | None, seed: int) -> None:
    """8 watchers of --count changes (100,000) by 16 writers, ten kills; then stopped as well."""
    del seconds
    from tests.crash.watching import watch_under_kills

    for stops, deaths in ((0, 0), (24, 8)):
        found = watch_under_kills(
            count or 100_000,
            writers=16,
            watchers=8,
            kills=10,
            stops=stops,
            deaths=deaths,
            seed=seed,
            tell=progress(),
        )
        say(f"watch: {found}")
        require(not found.findings)


def guards(count: int | None, seconds: float | None, seed: int) -> None:
    """Each guard is taken out of a copy of the program, and its test must turn red."""
    del seconds, seed
    green = []
    for guard, is_red in take_out_each(GUARDS[:count]):
        say(f"{'red' if is_red else 'STILL GREEN'}: without: {guard.name} ({guard.test})")
        green += [] if is_red else [guard]
    say(f"guards: {len(GUARDS[:count])} taken out, {len(green)} not noticed")
    require(not green)


KINDS: dict[str, Callable[[int | None, float | None, int], None]] = {
    "kills": kills,
    "restarts": restarts,
    "history": history,
    "standstill": standstill,
    "fuzz": fuzz,
    "power": power,
    "syscalls": syscalls,
    "backup": backup,
    "prune": prune,
    "watch": watch,
    "guards": guards,
}


def main() -> None:
    """Run one kind or all of them; exits with 0 only if every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description="\n".join(f"{name:<10}{kind.__doc__}" for name, kind in KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=(*KINDS, "all"))
    parser.add_argument("--count", type=_positive, help="of the one kind; see above")
    parser.add_argument(
        "--seconds", type=float, help="of history, standstill, fuzz and the rounds of prune"
    )
    parser.add_argument("--seed", type=int, help="of what happens; it is always printed")
    arguments = parser.parse_args()
    if arguments.kind == "all" and arguments.count:
        parser.error("--count is of one kind; `all` runs each in full")
    for name in [name for name in os.environ if name.startswith("LULUDB_")]:
        del os.environ[name]  # the caller's own home and settings have no part in this
    seed = new_seed() if arguments.seed is None else arguments.seed
    failed = [
        name
        for name in (KINDS if arguments.kind == "all" else (arguments.kind,))
        if not is_kept(name, arguments.count, arguments.seconds, seed)
    ]
    say("FAILED: " + ", ".join(failed) if failed else "every promise was kept")
    sys.exit(FAILED if failed else 0)


def is_kept(name: str, count: int | None, seconds: float | None, seed: int) -> bool:
    """Run one kind, and say what it met."""
    began_s = time.monotonic()
    say(f"== {name}, seed {seed}")
    try:
        KINDS[name](count, seconds, seed)
    except (Failed, GuardError, AssertionError, RuntimeError, OSError) as error:
        say(f"{name} failed: {error}")
        return False
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    say(f"== {name}: {time.monotonic() - began_s:.0f} s")
    return True


def require(is_so: bool) -> None:
    if not is_so:
        raise Failed("see above")


def say(message: str) -> None:
    print(message, flush=True)


def progress() -> NowAndThen:
    """What tells now and then how far a kind is."""
    return NowAndThen(lambda line: say(f"  {line}"), PROGRESS_S)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed is a whole number above 0")
    return int(text)


if __name__ == "__main__":
    main()
