"""Many appends at once, looked at column by column.

A pipeline or a transaction is nearly always a list of plain appends. Checking them one after the
other took the daemon 14,000 instructions each, where a look at each column takes 2,500.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from luludb.errors import InvalidRequest
from luludb.limits import ID_CHARACTERS_MAX, LABEL_CHARACTERS_MAX
from luludb.times import canonical_time

APPEND = "message.append"
APPEND_KEYS = frozenset({"id", "session_id", "role", "content"})
append_columns = itemgetter("id", "session_id", "role", "content")
"""Id, session, role and content of an append's args, which have them."""
_timed_columns = itemgetter("id", "session_id", "role", "content", "timestamp")
_TEXT = {str}


class AppendMessages(NamedTuple):
    """Appends with an id; one element of each column for each. Times are all given, or none."""

    ids: Sequence[str]
    session_ids: Sequence[str]
    roles: Sequence[str]
    contents: Sequence[str]
    timestamps: Sequence[str] | None


def plain_appends(elements: list[Any]) -> AppendMessages | None:
    """The columns, if each is a valid `["message.append", {id, session_id, role, content}]`.

    Each may have a timestamp, too. None says nothing but that one has to look at each.
    """
    try:
        ops, args = zip(*elements)  # noqa: B905  # the lengths are looked at below
        (length,) = {*map(len, args)}
        of_args = append_columns if length == 4 else _timed_columns
        columns = [*zip(*map(of_args, args))]  # noqa: B905  # all have as many
    except (TypeError, ValueError, KeyError):
        return None
    if not (
        {*map(type, elements)} == {list}
        and {*map(len, elements)} == {2}
        and {*map(type, ops)} == _TEXT
        and {*ops} == {APPEND}
        and {*map(type, args)} == {dict}
        and len(columns) == length
        and {*map(type, chain(*columns))} == _TEXT
    ):
        return None
    ids, session_ids, roles, contents, *times = columns
    if not (
        _are_bounded(ids, ID_CHARACTERS_MAX)
        and _are_bounded({*session_ids}, ID_CHARACTERS_MAX)
        and _are_bounded({*roles}, LABEL_CHARACTERS_MAX)
    ):
        return None
    try:
        timestamps = [*map(canonical_time, times[0])] if times else None
    except InvalidRequest:
        return None
    return AppendMessages(ids, session_ids, roles, contents, timestamps)


def _are_bounded(texts: Iterable[str], characters_max: int) -> bool:
    lengths = {*map(len, texts)}
    return 0 not in lengths and max(lengths) <= characters_max and "\0" not in "".join(texts)
