"""What an import reads: rows to add, and lines that hold none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from luludb.errors import InvalidRequest
from luludb.limits import MESSAGE_EXCERPT_CHARACTERS_MAX
from luludb.model import Message, Session

COLUMNS_OF_SESSION: Final = tuple(field.name for field in fields(Session))
COLUMNS_OF_MESSAGE: Final = tuple(field.name for field in fields(Message))


@dataclass(frozen=True, slots=True)
class Row:
    """One session or message to add. `line` counts from 1 in what is imported."""

    line: int
    content: Session | Message


@dataclass(frozen=True, slots=True)
class Refusal:
    """One line that is not added. `code` is a code of the wire."""

    line: int
    code: str
    message: str


def session_from(values: Mapping[str, Any]) -> Session:
    """The session whose columns are `values`.

    Raises:
        InvalidRequest: a column is missing, unknown, or not a text.
    """
    return Session(**_checked(values, COLUMNS_OF_SESSION, "session"))


def message_from(values: Mapping[str, Any]) -> Message:
    """The message whose columns are `values`.

    Raises:
        InvalidRequest: a column is missing, unknown, or not a text.
    """
    return Message(**_checked(values, COLUMNS_OF_MESSAGE, "message"))


def _checked(values: Mapping[str, Any], columns: tuple[str, ...], noun: str) -> Mapping[str, str]:
    for column in columns:
        if column not in values:
            raise InvalidRequest(f"{noun} has no {column}; needed are {', '.join(columns)}")
        if type(values[column]) is not str:
            raise InvalidRequest(f"{column} is {described(values[column])}; it must be a text")
    if len(values) > len(columns):
        unknown = next(key for key in values if key not in columns)
        raise InvalidRequest(
            f"{noun} has {described(unknown)}, which is unknown; allowed are {', '.join(columns)}"
        )
    return values


def described(value: Any) -> str:
    """What a message says of `value`; never the whole of what may be long."""
    match value:
        case str() if len(value) > MESSAGE_EXCERPT_CHARACTERS_MAX:
            return f"{json.dumps(value[:MESSAGE_EXCERPT_CHARACTERS_MAX])}…"
        case str() | bool() | None:
            return json.dumps(value)
        case int() | float():
            return "a number"
        case bytes():
            return f"{len(value)} bytes that are not text"
        case list():
            return "a list"
    return "an object"
