"""Numbers, sizes, durations and times as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

_BYTES_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def count_text(value: Any) -> str:
    """`1,234,567`, and `none` for None; what is no number as it is."""
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def counted(count: int, noun: str) -> str:
    """`1 session`, `2 sessions`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def milliseconds_text(value: Any) -> str:
    """`1,234.50`, without the unit."""
    return f"{value:,.2f}" if isinstance(value, int | float) else count_text(value)


def rate_text(per_s: float) -> str:
    """A number each second: with a decimal where it is below ten."""
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"


def bytes_text(count: float | None) -> str:
    """`5.0 MiB`, and `unknown` for None."""
    if count is None:
        return "unknown"
    for unit, unit_bytes in _BYTES_UNITS:
        if count >= unit_bytes:
            return f"{count / unit_bytes:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def duration_text(seconds: float) -> str:
    """The two greatest units of a duration: `2 h 5 min`."""
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{seconds:.1f} s"


def ago_text(moment: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 time was; the text itself where it is none."""
    try:
        then = datetime.fromisoformat(moment)
        seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    except (ValueError, TypeError):  # a time of another program may have another form, or no offset
        return moment
    # Clocks differ, and are set: a moment that is still to come was just now.
    if seconds < 1:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < 59.5 else f"{duration_text(seconds)} ago"
