"""The load of the asyncio client: a thousand tasks of one process, against sixteen processes."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from scripts.bench import luludb_system
from scripts.bench.bench import Bench, Contender, check_rows
from scripts.bench.crowd import Crowd, ended_at_last, gathered
from scripts.bench.figures import Bar, Comparison, LoadResult, rate, ratios, spread_of
from scripts.bench.taskwriter import Assignment, writing

PROCESSES = 16
TASKS = 1000
MESSAGES = 100
SHORT_MESSAGES = 10
PIPELINED = Contender("luludb, window 64", "luludb", "window", 64)
TASKS_ON = f"{TASKS:,} tasks, {{}}"
LOOPS = ("asyncio", "uvloop")


def tasks(bench: Bench) -> LoadResult:
    """Tasks that share one client, each waiting for each of its answers."""
    messages = SHORT_MESSAGES if bench.pace.is_short else MESSAGES
    result = LoadResult(
        key="tasks",
        title=f"{TASKS:,} asyncio tasks of one client, normal",
        how=f"{TASKS:,} tasks of one process share one `AsyncClient`; each appends {messages}"
        " messages to a session of its own, one at a time, and waits until it is kept. A run takes"
        f" as long as that does. The yardstick is {PROCESSES} processes with 64 messages under way"
        " each. The longest callback is looked for in a run of its own, since to time each takes"
        " time.",
        durability="normal",
        processes=PROCESSES,
    )
    loops = [name for name in LOOPS if name == "asyncio" or importlib.util.find_spec(name)]
    with bench.directory() as place, contextlib.ExitStack() as stack:
        dealt = bench.deal(place, PROCESSES)
        crowds = {
            TASKS_ON.format(name): stack.enter_context(
                _task_crowd(place / name, name, messages, dealt[0])
            )
            for name in loops
        }
        home = place / PIPELINED.system
        stack.enter_context(luludb_system.serving(home, "normal"))
        crowds[PIPELINED.name] = stack.enter_context(
            gathered(PIPELINED.assignments(home, "normal", dealt))
        )
        bench.run_rounds(result, crowds)
        for name in loops:
            crowd = crowds[TASKS_ON.format(name)]
            _compare(result, name, *crowd.ask("callbacks"))
        for (name, crowd), system_home in zip(
            crowds.items(), [*(place / name for name in loops), home], strict=True
        ):
            result.notes.append(luludb_system.commits_text(name, system_home))
            result.kept[name] = check_rows(luludb_system, system_home, crowd.journals())
    return result


def _compare(result: LoadResult, loop: str, longest_ms: float) -> None:
    """Note the figures of one loop; only the standard one's rate has a bar."""
    name = TASKS_ON.format(loop)
    failed = float(sum(sum(run.errors.values()) for run in result.runs[name]))
    result.comparisons += [
        Comparison(
            f"rate {name} / window 64",
            f"rate of {name} against {PROCESSES} processes with 64 messages under way",
            ratios(result.runs, name, PIPELINED.name, rate),
            Bar(0.4, 0.5) if loop == "asyncio" else None,
            why="All tasks have one processor between them, where the processes have all there"
            " are.",
        ),
        Comparison(
            f"failed {name}",
            f"failed appends of {name}",
            spread_of([failed]),
            Bar(0, is_upper=True),
        ),
        Comparison(
            f"callback {name}",
            f"processor time of the longest callback of the client's own, {name}",
            spread_of([longest_ms]),
            Bar(20, is_upper=True),
            "ms",
        ),
    ]


@contextlib.contextmanager
def _task_crowd(home: Path, loop: str, messages: int, conversations: Path) -> Iterator[Crowd]:
    assignment = Assignment(
        home=str(home),
        loop=loop,
        tasks=TASKS,
        messages=messages,
        conversations=str(conversations),
    )
    with luludb_system.serving(home, "normal"):
        crowd = Crowd([writing(assignment)])
        with ended_at_last(crowd):
            yield crowd
