"""Times as luludb writes them: RFC 3339 UTC with microseconds and `+00:00`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from luludb.errors import InvalidRequest
from luludb.limits import MESSAGE_EXCERPT_CHARACTERS_MAX

# Without 29 February, which only some years have, and the year 0, which Python does not know.
# datetime takes five times as long, and there is one in each message of an import.
_is_plainly_canonical = re.compile(
    r"(?!0000)\d{4}-"
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}\+00:00",
    re.ASCII,
).fullmatch
# RFC 3339, section 5.6; the note there allows a space for the T, and lower case letters.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def now_text() -> str:
    """The time now, by the wall clock."""
    microseconds = time.time_ns() // 1000
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_second_text(seconds)}.{rest:06d}+00:00"


@lru_cache(maxsize=1)
def _second_text(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def canonical_time(text: str) -> str:
    """`text`, any RFC 3339 time with an offset, as luludb writes it.

    Digits below a microsecond are cut off. A leap second becomes the second after it, as in POSIX.

    Raises:
        InvalidRequest: it is not such a time.
    """
    if _is_plainly_canonical(text):
        return text
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise _not_a_time(text)
    day, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{minute}:{min(int(second), 59):02d}+00:00")
        if int(second) > 60 or int(offset_minutes or 0) > 59 or int(offset_hours or 0) > 23:
            raise _not_a_time(text)
        moment += timedelta(
            seconds=int(second) - min(int(second), 59),
            microseconds=int((fraction or "0")[:6].ljust(6, "0")),
        )
        if sign is not None:
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
            moment = moment - offset if sign == "+" else moment + offset
    except (ValueError, OverflowError) as error:
        raise _not_a_time(text) from error
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _not_a_time(text: str) -> InvalidRequest:
    excerpt = text[:MESSAGE_EXCERPT_CHARACTERS_MAX]
    return InvalidRequest(
        f"time is {excerpt!r}; allowed is RFC 3339 with an offset,"
        " as 2026-01-02T03:04:05.000006+00:00"
    )
