"""The load that imports: `luludb import` of a file against the limit with the same rows."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
import time
from array import array
from pathlib import Path

from scripts.bench import limit, luludb_system
from scripts.bench.bench import Bench, check_rows
from scripts.bench.figures import Bar, Comparison, LoadResult, Run, rate, ratios, run_of
from scripts.bench.processes import running
from scripts.bench.rows import open_lines, rows_of_file
from scripts.bench.share import Share
from scripts.load.conversations import MessageRow, SessionRow, rows_of
from scripts.load.journal import Journal, digest_of

ROWS_MADE_UP = 200_000
SHORT_ROWS = 20_000
IMPORT_S_MAX = 600.0
IMPORT = "luludb import"


def importing(bench: Bench) -> LoadResult:
    """A file of conversations into an empty home."""
    with bench.directory() as place:
        file = _file(bench, place)
        journal = _journal(file)
        rows = len(journal.sessions) + len(journal.messages)
        source = "a file of real dialogues" if bench.data else "a file of made-up conversations"
        result = LoadResult(
            key="import",
            title="Import of a file",
            how=f"`luludb import` of {source} with {rows:,} rows into an empty home, from the start"
            " of the command to its end. The limit has read and parsed the file before its time"
            " begins.",
            durability="normal",
            processes=1,
        )
        result.runs = {IMPORT: [], "limit": []}
        for number in range(bench.pace.pairs):
            home = place / f"home-{number}"
            result.runs[IMPORT].append(_imported(file, home, rows))
            result.kept[IMPORT] = check_rows(luludb_system, home, [journal])
            home = place / f"limit-{number}"
            result.runs["limit"].append(_written(file, home, rows))
            result.kept["limit"] = check_rows(limit, home, [journal])
    result.comparisons.append(
        Comparison(
            "rate luludb import / limit",
            "rate of `luludb import` against the limit",
            ratios(result.runs, IMPORT, "limit", rate),
            Bar(0.3, 0.5),
            why="The command reads and parses the file in its time;"
            " the limit inserts rows that lie ready.",
        )
    )
    return result


def _imported(file: Path, home: Path, rows: int) -> Run:
    command = [sys.executable, "-m", "luludb", "import", "--json", str(file), "--home", str(home)]
    with luludb_system.serving(home, "normal"):
        began = time.perf_counter_ns()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=IMPORT_S_MAX)
        return _run(rows, (time.perf_counter_ns() - began) / 1e9)


def _written(file: Path, home: Path, rows: int) -> Run:
    with running("scripts.bench.limit", str(file), str(home)) as process:
        process.tell("go")
        answer = json.loads(process.read_line(time.monotonic() + IMPORT_S_MAX))
    return _run(rows, answer["seconds"])


def _run(rows: int, seconds: float) -> Run:
    return run_of([Share(rows, seconds, array("d", [seconds * 1000]), {})])


def _file(bench: Bench, place: Path) -> Path:
    """The file to import: the real one, its beginning, or one that is made up."""
    if bench.data is not None and not bench.pace.is_short:
        return bench.data
    path = place / "conversations.jsonl.gz"
    count = SHORT_ROWS if bench.pace.is_short else ROWS_MADE_UP
    with gzip.open(path, "wb", compresslevel=1) as file:
        if bench.data is not None:
            with open_lines(bench.data) as lines:
                file.writelines(itertools.islice(lines, count))
        else:
            for row in itertools.islice(rows_of(bench.conversations), count):
                file.write(json.dumps(_line_of(row)).encode() + b"\n")
    return path


def _line_of(row: SessionRow | MessageRow) -> dict[str, str]:
    if isinstance(row, MessageRow):
        return {"type": "message", **row._asdict()}
    times = dict.fromkeys(("created_at", "updated_at"), _EPOCH)
    return {"type": "session", "status": "created", **row._asdict(), **times}


_EPOCH = "2026-01-01T00:00:00.000000+00:00"


def _journal(file: Path) -> Journal:
    """All rows of the file, as sent and acknowledged."""
    journal = Journal(began_s=0.0, ended_s=0.0)
    for sessions, messages in rows_of_file(file):
        for session in sessions:
            journal.sessions[session[0]] = digest_of(*session[1:4])
        for message in messages:
            journal.messages[message[0]] = (message[1], digest_of(*message[1:]))
    journal.acknowledged = dict.fromkeys((*journal.sessions, *journal.messages), 0)
    return journal
