"""The command: `scripts/bench/run`, which runs loads and writes what came of them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from scripts.bench import plots, postgresql, report
from scripts.bench.bench import Bench, Pace, RowsWrong
from scripts.bench.figures import LoadResult
from scripts.bench.loads import LOADS
from scripts.bench.machine import UnfitPlace, describe_machine, examine_place
from scripts.bench.processes import ROOT, ProcessFailed
from scripts.bench.systems import MODULES, system
from scripts.load.conversations import Conversation, made_up_conversations, read_conversations

SEED = 1
DATA_FILE = "dialogues.jsonl.gz"
FULL = Pace(pairs=5, seconds=3.0, warm_s=0.5, is_short=False)
SHORT = Pace(pairs=1, seconds=1.0, warm_s=0.3, is_short=True)
DATABASES = Path("/var/tmp")  # noqa: S108  # on a disk, where /tmp is often not; mkdtemp inside


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run",
        description="Measure luludb beside plain SQLite, PostgreSQL and sqlite_rx.",
    )
    parser.add_argument("--short", action="store_true", help="a look, in under three minutes")
    parser.add_argument("--only", metavar="LOAD,...", type=_loads, help=f"of {', '.join(LOADS)}")
    parser.add_argument("--pairs", metavar="N", type=int, help="rounds of each load (5)")
    parser.add_argument("--seconds", metavar="S", type=float, help="of a run (3)")
    parser.add_argument(
        "--systems", metavar="NAME,...", type=_systems, help=f"of {', '.join(MODULES)}"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--home", metavar="DIR", type=Path, default=DATABASES)
    arguments = parser.parse_args()
    if (arguments.pairs is not None and arguments.pairs < 1) or (
        arguments.seconds is not None and not arguments.seconds > 0
    ):
        parser.error("--pairs and --seconds are above 0")
    return arguments


def main() -> None:
    """Run the loads that were asked for, and write report, figures and plots."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with own_directory(arguments.home) as home:
            results = run_loads(arguments, home)
    except KeyboardInterrupt:
        sys.exit(130)
    except (RowsWrong, ProcessFailed, UnfitPlace) as error:
        print(f"scripts/bench/run: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{len(results)} loads; {arguments.out / 'report.md'}")


def run_loads(arguments: argparse.Namespace, home: Path) -> list[LoadResult]:
    """Measure, and write the results so far after each load."""
    machine = describe_machine()
    place = examine_place(home)
    print(f"{place.file_system}; fdatasync p50 {place.sync_p50_ms:.3f} ms", flush=True)
    postgresql.install()
    bench = make_bench(arguments, home)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: list[LoadResult] = []
    for key in arguments.only or LOADS:
        began_s = time.monotonic()
        print(f"{key}", flush=True)
        results.append(LOADS[key](bench))
        for comparison in results[-1].comparisons:
            print(f"  {report.line_of(comparison)}", flush=True)
        print(f"  ({time.monotonic() - began_s:.0f} s)", flush=True)
        figures = {
            "machine": machine,
            "place": asdict(place),
            "pace": asdict(bench.pace),
            "missing": bench.missing,
            "loads": [asdict(result) for result in results],
        }
        (arguments.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        images = plots.draw(results, arguments.out)
        text = report.render(
            machine=machine, place=place, bench=bench, results=results, images=images
        )
        (arguments.out / "report.md").write_text(text, encoding="utf-8")
    return results


def make_bench(arguments: argparse.Namespace, home: Path) -> Bench:
    pace = SHORT if arguments.short else FULL
    conversations, data = find_conversations()
    missing = {}
    for name in MODULES:
        if arguments.systems and name not in arguments.systems:
            missing[name] = "it was not asked for"
        elif reason := system(name).reason_missing():
            missing[name] = reason
            print(f"{name} is not measured: {reason}", flush=True)
    return Bench(
        home=home,
        conversations=conversations,
        data=data,
        pace=Pace(
            pairs=arguments.pairs or pace.pairs,
            seconds=arguments.seconds or pace.seconds,
            warm_s=pace.warm_s,
            is_short=pace.is_short,
        ),
        missing=missing,
    )


def find_conversations() -> tuple[list[Conversation], Path | None]:
    """Real ones where they are, else made-up ones; and the file."""
    folder = os.environ.get("LULUDB_TEST_DATA")
    path = (Path(folder) if folder else ROOT.parent / "shared" / "data") / DATA_FILE
    if path.is_file():
        return read_conversations(path), path
    return made_up_conversations(SEED), None


@contextlib.contextmanager
def own_directory(parent: Path) -> Iterator[Path]:
    """A new directory for all databases, which other users may pass through; gone at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="luludb-bench-", dir=parent.resolve()))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _loads(text: str) -> list[str]:
    return _known(text, list(LOADS), "loads")


def _systems(text: str) -> list[str]:
    return _known(text, list(MODULES), "systems")


def _known(text: str, known: list[str], noun: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r}; the {noun} are {', '.join(known)}")
    return names


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
