"""What `luludb top` shows: figures in, lines of text out. No terminal is needed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from luludb.cli.figures import Disk, percentile_lines
from luludb.cli.quantities import bytes_text, count_text, duration_text, rate_text
from luludb.cli.texts import one_line
from luludb.limits import TOP_SHOWN_MAX, TOP_WINDOW_S

if TYPE_CHECKING:
    from luludb.admin.activity import Activity, Busy

_LABEL: Final = 14
_VALUE: Final = 10
_RATE: Final = 10
_RATES: Final = (
    (("commands/s", "commands_total"), ("refused/s", "commands_refused_total")),
    (("batches/s", "batches_total"), ("sent again/s", "duplicates_total")),
    (("changes/s", "last_rev"), ("checkpoints/s", "checkpoints_total")),
)
_ENDS: Final = "q or Ctrl-C ends"


class Line(NamedTuple):
    """One line, and whether it is a heading."""

    text: str
    is_heading: bool = False


def screen_lines(
    activity: Activity, disk: Disk, *, home: str, width: int, height: int, is_live: bool
) -> list[Line]:
    """At most `height` lines, none longer than `width` characters of one column each.

    Args:
        activity: what the last look found.
        disk: what lies in the home.
        home: its path.
        width: of the terminal, in columns; 0 cuts nothing off.
        height: of the terminal, in lines; 0 shows all.
        is_live: whether it goes on, and ends by a key.
    """
    lines = [Line(_title(activity, home), is_heading=True), Line("")]
    if activity.figures is None:
        lines += [*_wrapped(activity.unavailable, width), Line("")]
    else:
        lines += [*_numbers(activity.figures, activity.per_s, disk), Line("")]
    footer = [Line(""), Line(_ENDS)] if is_live else []
    rows = _rows_left(height, len(lines) + len(footer))
    lines += _busiest("CHANGES/s", "BUSIEST SESSIONS", activity.sessions, rows)
    lines.append(Line(""))
    lines += _busiest("COMMANDS/s", "BUSIEST CLIENTS, AND WHERE THEY WROTE", activity.clients, rows)
    return [_cut(line, width) for line in _fitted([*lines, *footer], height)]


def _title(activity: Activity, home: str) -> str:
    figures = activity.figures
    if figures is None:
        return f"luludb top: no daemon answers for {one_line(home)}"
    return (
        f"{one_line(home)}: running for {duration_text(figures['uptime_s'])},"
        f" pid {figures['pid']}, durability {figures['durability']}"
    )


def _wrapped(message: str, width: int) -> list[Line]:
    """The whole of a message: its end says what to do."""
    return [Line(part) for part in textwrap.wrap(one_line(message), width or len(message) or 1)]


def _numbers(figures: Mapping[str, Any], per_s: Mapping[str, float], disk: Disk) -> Iterator[Line]:
    sizes = (
        ("connections", count_text(figures["connections"])),
        ("WAL", bytes_text(figures["wal_bytes"])),
        ("database", bytes_text(disk.database_bytes)),
    )
    for rates, size in zip(_RATES, sizes, strict=True):
        cells = [*((label, _rate(per_s, name)) for label, name in rates), size]
        yield Line("  ".join(f"{label:<{_LABEL}}{value:>{_VALUE}}" for label, value in cells))
    yield Line("")
    for number, (label, values) in enumerate(percentile_lines(figures)):
        yield Line(f"{label:<{_LABEL}}{values}", is_heading=number == 0)


def _rate(per_s: Mapping[str, float], name: str) -> str:
    return rate_text(per_s[name]) if name in per_s else "-"


def _rows_left(height: int, taken: int) -> int:
    """How many rows each of the two lists may have, with its heading and a line between them."""
    if not height:
        return TOP_SHOWN_MAX
    return min(max((height - taken - 3) // 2, 1), TOP_SHOWN_MAX)


def _busiest(unit: str, heading: str, found: Sequence[Busy], rows: int) -> Iterator[Line]:
    yield Line(f"{unit:>{_RATE}}  {heading}, LAST {TOP_WINDOW_S:g} s", is_heading=True)
    for busy in found[:rows]:
        yield Line(f"{rate_text(busy.per_s):>{_RATE}}  {one_line(busy.id)}  {one_line(busy.name)}")
    if not found:
        yield Line(f"{'-':>{_RATE}}  none")


def _fitted(lines: list[Line], height: int) -> list[Line]:
    return lines[:height] if height else lines


def _cut(line: Line, width: int) -> Line:
    """`line` in `width` columns; some characters take two of them, and others none."""
    if not width:
        return line
    from rich.text import Text

    text = Text(line.text)
    text.truncate(width, overflow="ellipsis")
    return line._replace(text=text.plain)
