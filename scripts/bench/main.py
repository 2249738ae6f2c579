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
from dataclasses import asdict, replace
from pathlib import Path

from scripts.bench import plots, postgresql, report
from scripts.bench.bench import Bench, Pace, RowsWrong
from scripts.bench.figures import LoadResult
from scripts.bench.loads import LOADS, SHORT_LOADS
from scripts.bench.machine import UnfitPlace, describe_machine, examine_place
from scripts.bench.processes import ROOT, ProcessFailed
from scripts.bench.report import Facts, Setting
from scripts.bench.rows import SESSIONS_OF_A_CLIENT
from scripts.bench.systems import MODULES, system
from scripts.load.conversations import Conversation, made_up_conversations, read_conversations

SEED = 1
RIVALS = ["PostgreSQL", "sqlite_rx"]
SHORT_S_MAX = 130.0
"""No load of the short form begins later; the whole is to end in under three minutes."""
DATA_FOLDER = "LULUDB_TEST_DATA"
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
        "--without",
        metavar="NAME,...",
        type=_rivals,
        default=[],
        help=f"rivals that are left out, of {', '.join(RIVALS)}",
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
    for name in [name for name in os.environ if name.startswith("LULUDB_") and name != DATA_FOLDER]:
        del os.environ[name]  # what is set for another daemon is no part of this
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
    began_s = time.monotonic()
    machine = describe_machine()
    place = examine_place(home)
    print(
        f"{home} is on {place.file_system}; a write of 4 KiB and its fdatasync take"
        f" {place.sync_p50_ms:.3f} ms (p50)",
        flush=True,
    )
    postgresql.install()
    bench, data = make_bench(arguments, home)
    load_average = os.getloadavg()[0]
    remove_results(arguments.out)
    results: list[LoadResult] = []
    skipped: list[str] = []
    for key in arguments.only or (SHORT_LOADS if bench.pace.is_short else LOADS):
        if bench.pace.is_short and time.monotonic() - began_s > SHORT_S_MAX:
            skipped.append(key)
            continue
        results.append(run_load(bench, key))
        facts = Facts(
            machine=machine,
            load_average=load_average,
            place=place,
            pace=bench.pace,
            data=data,
            systems={name: _setting(name) for name in MODULES if bench.can(name)},
            missing=bench.missing,
            skipped=skipped,
        )
        write_results(facts, results, arguments.out)
    if skipped:
        print(f"left out for lack of time: {', '.join(skipped)}", flush=True)
    return results


def run_load(bench: Bench, key: str) -> LoadResult:
    """One load, with what it found on the terminal."""
    began_s = time.monotonic()
    print(f"\n{key}", flush=True)
    result = LOADS[key](bench)
    for comparison in result.comparisons:
        print(f"  {report.line_of(comparison)}", flush=True)
    print(f"  ({time.monotonic() - began_s:.0f} s)", flush=True)
    return result


def remove_results(directory: Path) -> None:
    """Remove what another run left, so that no plot of it stands beside this one's."""
    for name in ("figures.json", "report.md", *plots.NAMES):
        (directory / name).unlink(missing_ok=True)


def write_results(facts: Facts, results: list[LoadResult], directory: Path) -> None:
    """Write `figures.json`, the plots and `report.md`."""
    directory.mkdir(parents=True, exist_ok=True)
    loads = [
        {**asdict(result), "marks": {each.key: each.mark for each in result.comparisons}}
        for result in results
    ]
    figures = {**asdict(facts), "loads": loads}
    (directory / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = report.render(facts, results, plots.draw(results, directory))
    (directory / "report.md").write_text(text, encoding="utf-8")


def make_bench(arguments: argparse.Namespace, home: Path) -> tuple[Bench, str]:
    """The benchmark that was asked for, and in words what it writes."""
    pace = SHORT if arguments.short else FULL
    conversations, data = find_conversations()
    missing = {}
    for name in MODULES:
        if name in arguments.without:
            missing[name] = "it was left out by `--without`"
        elif reason := system(name).reason_missing():
            missing[name] = reason
        if name in missing:
            print(f"{name} is not measured: {missing[name]}", flush=True)
    bench = Bench(
        home=home,
        conversations=conversations,
        data=data,
        pace=replace(
            pace,
            pairs=arguments.pairs or pace.pairs,
            seconds=arguments.seconds or pace.seconds,
        ),
        missing=missing,
    )
    return bench, _described(conversations, is_real=data is not None)


def _described(conversations: list[Conversation], *, is_real: bool) -> str:
    contents = [len(content) for each in conversations for _, content in each.turns]
    kind = "real dialogues" if is_real else "made-up conversations of coding agents"
    return (
        f"{kind}, {len(contents):,} messages of {sum(contents) / len(contents):.0f} characters on"
        f" average, over and over, each process to {SESSIONS_OF_A_CLIENT} sessions of its own"
    )


def _setting(name: str) -> Setting:
    measured = system(name)
    return Setting(measured.version(), measured.settings())


def find_conversations() -> tuple[list[Conversation], Path | None]:
    """Real ones where they are, else made-up ones; and the file."""
    folder = os.environ.get(DATA_FOLDER)
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


def _rivals(text: str) -> list[str]:
    return _known(text, RIVALS, "rivals")


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
