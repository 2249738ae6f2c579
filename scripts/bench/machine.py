"""What the figures were measured on: machine, file system, and how long the disk takes."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.figures import percentile

SYNCS = 300
BLOCK_BYTES = 4096
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


class UnfitPlace(RuntimeError):
    """Is raised where databases in that directory would measure something else."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the databases lie.

    Attributes:
        file_system: its type and mount options.
        sync_p50_ms: of writing 4 KiB behind the end of what is there and calling fdatasync.
    """

    directory: str
    file_system: str
    sync_p50_ms: float
    sync_p99_ms: float


def describe_machine() -> dict[str, str]:
    """What to know of the machine, by name, in the order of the report."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory_bytes() / (1 << 30):.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": _system(),
        "Python": platform.python_version(),
        "load before the start": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "command": " ".join(["scripts/bench/run", *sys.argv[1:]]),
    }


def examine_place(directory: Path) -> Place:
    """The file system of `directory`, and how long it takes to make a write durable.

    Raises:
        UnfitPlace: it lies in memory, where a sync costs nothing.
    """
    kind, options = _mounted_at(directory)
    if kind in MEMORY_FILE_SYSTEMS:
        raise UnfitPlace(
            f"{directory} is on a {kind}, which lies in memory and where a sync costs nothing;"
            " --home takes a directory on a disk"
        )
    ordered = sorted(_sync_times_ms(directory))
    return Place(
        str(directory), f"{kind} ({options})", statistics.median(ordered), percentile(ordered, 99)
    )


def _sync_times_ms(directory: Path) -> list[float]:
    times = []
    block = os.urandom(BLOCK_BYTES)
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter_ns()
            file.write(block)
            _sync(file.fileno())
            times.append((time.perf_counter_ns() - began) / 1e6)
    return times


def _sync(descriptor: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _mounted_at(directory: Path) -> tuple[str, str]:
    """The type and the options of the file system that `directory` is on."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown", "unknown"
    best = ("", "unknown", "unknown")
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        point, kind, options = line.split()[1:4]
        point = point.encode().decode("unicode_escape")
        is_above = directory.resolve().is_relative_to(point)
        if is_above and len(point) >= len(best[0]):
            best = (point, kind, options)
    return best[1], best[2]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()
