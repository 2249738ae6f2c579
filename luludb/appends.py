"""Many appends at once, looked at column by column.

A pipeline or a transaction is nearly always a list of plain appends. Checking them one after the
other took the daemon 14,000 instructions each, where a look at each column takes 2,500.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from luludb.limits import ID_CHARACTERS_MAX, LABEL_CHARACTERS_MAX

APPEND = "message.append"
APPEND_KEYS = frozenset({"id", "session_id", "role", "content"})
append_columns = itemgetter("id", "session_id", "role", "content")
"""Id, session, role and content of an append's args, which have them."""
_TEXT = {str}


class AppendMessages(NamedTuple):
    """Appends with an id and without a time of their own; one element of each column for each."""

    ids: Sequence[str]
    session_ids: Sequence[str]
    roles: Sequence[str]
    contents: Sequence[str]


def plain_appends(elements: list[Any]) -> AppendMessages | None:
    """The columns, if each is a valid `["message.append", {id, session_id, role, content}]`.

    None says nothing but that one has to look at each.
    """
    try:
        ops, args = zip(*elements)  # noqa: B905  # the lengths are looked at below
        columns = AppendMessages(*zip(*map(append_columns, args)))  # noqa: B905  # all have four
    except (TypeError, ValueError, KeyError):
        return None
    if (
        {*map(type, elements)} == {list}
        and {*map(len, elements)} == {2}
        and {*map(type, ops)} == _TEXT
        and {*ops} == {APPEND}
        and {*map(type, args)} == {dict}
        and {*map(len, args)} == {4}
        and {*map(type, chain(*columns))} == _TEXT
        and _are_bounded(columns.ids, ID_CHARACTERS_MAX)
        and _are_bounded({*columns.session_ids}, ID_CHARACTERS_MAX)
        and _are_bounded({*columns.roles}, LABEL_CHARACTERS_MAX)
    ):
        return columns
    return None


def _are_bounded(texts: Iterable[str], characters_max: int) -> bool:
    lengths = {*map(len, texts)}
    return 0 not in lengths and max(lengths) <= characters_max and "\0" not in "".join(texts)
