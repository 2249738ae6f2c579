"""The typed commands: what each op's args must be, and nothing about how it is done.

`parse_command` is where everything that comes from outside is checked: types, lengths,
characters, times, unknown keys. What it returns needs no further look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from luludb.appends import (
    APPEND,
    APPEND_KEYS,
    AppendMessages,
    append_columns,
    plain_appends,
)
from luludb.errors import InvalidRequest, LuludbError, TooLarge, UnknownOp
from luludb.limits import (
    AT_ONCE_COMMANDS_MIN,
    COMPACT_PAGES_MAX,
    FRAME_COMMANDS_MAX,
    ID_CHARACTERS_MAX,
    LABEL_CHARACTERS_MAX,
    MESSAGE_EXCERPT_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    PIPELINE_COMMANDS_MAX,
    TRANSACTION_COMMANDS_MAX,
)
from luludb.model import new_tuple
from luludb.times import canonical_time

COMPACT: Final = "compact"
CONTROL_OPS: Final = frozenset({"ping", "status", "hello", COMPACT})
PIPELINE: Final = "pipeline"
TRANSACTION: Final = "transaction"
NORMAL: Final = "normal"
DURABILITIES: Final = (NORMAL, "full")
_TEXT: Final = {str}


class CreateSession(NamedTuple):
    id: str | None
    name: str
    working_dir: str
    status: str
    created_at: str | None
    updated_at: str | None


class UpdateSession(NamedTuple):
    id: str
    name: str | None
    status: str | None
    working_dir: str | None


class DeleteSession(NamedTuple):
    id: str


class AppendMessage(NamedTuple):
    id: str | None
    session_id: str
    role: str
    content: str
    timestamp: str | None


class UpdateMessage(NamedTuple):
    id: str
    content: str


class DeleteMessage(NamedTuple):
    id: str


SingleCommand = (
    CreateSession | UpdateSession | DeleteSession | AppendMessage | UpdateMessage | DeleteMessage
)


class Transaction(NamedTuple):
    """Commands that are applied together or not at all. `AppendMessages` stands for several."""

    commands: tuple[SingleCommand | AppendMessages, ...]


Command = SingleCommand | Transaction


def parse_command(op: str, args: Mapping[Any, Any]) -> Command:
    """The command that `op` and `args` ask for.

    Raises:
        UnknownOp: there is no such op.
        InvalidRequest: an argument is missing, unknown, of another type, too long, or has a
            character it must not have; in a transaction with `index`, the place of the command.
    """
    parse = _PARSERS.get(op)
    if parse is None:
        raise UnknownOp(f"op is {_excerpt(op)}; known are {', '.join(_PARSERS)} and {PIPELINE}")
    return parse(args)


def check_options(options: Any) -> str | None:
    """The durability that a request's options ask for, or None.

    Raises:
        InvalidRequest: options are not a map, or ask for a level that does not exist.
    """
    if not options:
        if type(options) is dict:
            return None
    elif type(options) is dict:
        durability = options.get("durability")
        if durability is None or durability in DURABILITIES:
            return durability
        raise InvalidRequest(
            f"durability is {_excerpt(durability)}; allowed are {' and '.join(DURABILITIES)}"
        )
    raise InvalidRequest(f"options are {_excerpt(options)}; they must be a map")


def plain_pipeline(args: Mapping[Any, Any]) -> AppendMessages | None:
    """What a pipeline of nothing but plain appends holds; None of any other, a bad one too."""
    elements = args.get("commands")
    if len(args) == 1 and type(elements) is list and 1 <= len(elements) <= PIPELINE_COMMANDS_MAX:
        return plain_appends(elements)
    return None


def split_pipeline(args: Mapping[Any, Any]) -> list[tuple[str, dict[Any, Any]]]:
    """The `(op, args)` of each command of a pipeline; what is in the args is not looked at.

    Raises:
        InvalidRequest: the list is not a list of 1 to 256 of [str, map], or one is a pipeline or
            a control request.
        TooLarge: it has more than 10,000 commands, those in transactions counted.
    """
    _check_keys(args, ("commands",))
    elements = _list(args, PIPELINE_COMMANDS_MAX)
    pairs = [_pair(element, index) for index, element in enumerate(elements)]
    count = 0
    for index, (op, inner) in enumerate(pairs):
        if op == PIPELINE or op in CONTROL_OPS:
            raise InvalidRequest(f"a pipeline holds no {op}", index=index)
        nested = inner.get("commands") if op == TRANSACTION else None
        count += len(nested) if type(nested) is list else 1
    if count > FRAME_COMMANDS_MAX:
        raise TooLarge(f"frame has {count} commands; the most is {FRAME_COMMANDS_MAX}")
    return pairs


def check_no_args(op: str, args: Mapping[Any, Any]) -> None:
    """Refuse args where `op`, a control request, takes none.

    Raises:
        InvalidRequest: there is one.
    """
    if args:
        raise InvalidRequest(f"{op} takes no argument; found {_excerpt(next(iter(args)))}")


def parse_compact(args: Mapping[Any, Any]) -> int:
    """How many free pages the control request `compact` asks to give back, 0 or more.

    Raises:
        InvalidRequest: `pages` is missing or not such a number, or there is another argument.
    """
    _check_keys(args, ("pages",))
    pages = args.get("pages")
    if type(pages) is not int or not 0 <= pages <= COMPACT_PAGES_MAX:
        found = _excerpt(pages) if "pages" in args else "missing"
        raise InvalidRequest(f"pages is {found}; allowed is an int of 0 to {COMPACT_PAGES_MAX}")
    return pages


def _create_session(args: Mapping[Any, Any]) -> CreateSession:
    _check_keys(args, ("id", "name", "working_dir", "status", "created_at", "updated_at"))
    return CreateSession(
        _optional(args, "id", _id),
        _name(args, "name"),
        _name(args, "working_dir"),
        _label(args, "status") if "status" in args else "created",
        _optional(args, "created_at", _time),
        _optional(args, "updated_at", _time),
    )


def _update_session(args: Mapping[Any, Any]) -> UpdateSession:
    _check_keys(args, ("id", "name", "status", "working_dir"))
    command = UpdateSession(
        _id(args, "id"),
        _optional(args, "name", _name),
        _optional(args, "status", _label),
        _optional(args, "working_dir", _name),
    )
    if len(args) < 2:
        raise InvalidRequest("session.update needs at least one of name, status and working_dir")
    return command


def _delete_session(args: Mapping[Any, Any]) -> DeleteSession:
    _check_keys(args, ("id",))
    return DeleteSession(_id(args, "id"))


def _append_message(args: Mapping[Any, Any]) -> AppendMessage:
    if args.keys() == APPEND_KEYS and {*map(type, args.values())} == _TEXT:
        # Nearly every command there is; what follows takes 2 µs longer and says what is wrong.
        id, session_id, role, content = append_columns(args)
        if (
            0 < len(id) <= ID_CHARACTERS_MAX
            and 0 < len(session_id) <= ID_CHARACTERS_MAX
            and 0 < len(role) <= LABEL_CHARACTERS_MAX
            and "\0" not in id + session_id + role
        ):
            return new_tuple(AppendMessage, (id, session_id, role, content, None))
    _check_keys(args, ("id", "session_id", "role", "content", "timestamp"))
    return AppendMessage(
        _id(args, "id") if "id" in args else None,
        _id(args, "session_id"),
        _label(args, "role"),
        _text(args, "content"),
        _time(args, "timestamp") if "timestamp" in args else None,
    )


def _update_message(args: Mapping[Any, Any]) -> UpdateMessage:
    _check_keys(args, ("id", "content"))
    return UpdateMessage(_id(args, "id"), _text(args, "content"))


def _delete_message(args: Mapping[Any, Any]) -> DeleteMessage:
    _check_keys(args, ("id",))
    return DeleteMessage(_id(args, "id"))


def _transaction(args: Mapping[Any, Any]) -> Transaction:
    _check_keys(args, ("commands",))
    elements = _list(args, TRANSACTION_COMMANDS_MAX)
    appends = plain_appends(elements)
    if appends is not None:
        return Transaction((appends,))
    commands: list[Any] = []
    index = 0
    for is_append, group in groupby(elements, _is_append):
        run = [*group]
        appends = plain_appends(run) if is_append and len(run) >= AT_ONCE_COMMANDS_MIN else None
        if appends is not None:
            commands.append(appends)
        else:
            commands += [_inner(element, at) for at, element in enumerate(run, index)]
        index += len(run)
    return Transaction(tuple(commands))


def _is_append(element: Any) -> bool:
    return type(element) is list and len(element) == 2 and element[0] == APPEND


def _inner(element: Any, index: int) -> Command:
    op, inner = _pair(element, index)
    if op in (TRANSACTION, PIPELINE) or op in CONTROL_OPS:
        raise InvalidRequest(f"a transaction holds no {op}", index=index)
    try:
        return parse_command(op, inner)
    except LuludbError as error:
        error.details["index"] = index
        raise


_PARSERS: Final[Mapping[str, Callable[[Mapping[Any, Any]], Command]]] = {
    "session.create": _create_session,
    "session.update": _update_session,
    "session.delete": _delete_session,
    APPEND: _append_message,
    "message.update": _update_message,
    "message.delete": _delete_message,
    TRANSACTION: _transaction,
}
COMMAND_OPS: Final = (*_PARSERS, PIPELINE)
OP_OF_COMMAND: Final[Mapping[type, str]] = {
    CreateSession: "session.create",
    UpdateSession: "session.update",
    DeleteSession: "session.delete",
    AppendMessage: APPEND,
    UpdateMessage: "message.update",
    DeleteMessage: "message.delete",
}


def _check_keys(args: Mapping[Any, Any], allowed: tuple[str, ...]) -> None:
    for key in args:
        if key not in allowed:
            raise InvalidRequest(
                f"argument {_excerpt(key)} is unknown; allowed are {', '.join(allowed)}"
            )


def _list(args: Mapping[Any, Any], length_max: int) -> list[Any]:
    elements = args.get("commands")
    if type(elements) is not list or not 1 <= len(elements) <= length_max:
        found = f"a list of {len(elements)}" if type(elements) is list else _excerpt(elements)
        raise InvalidRequest(f"commands are {found}; allowed is a list of 1 to {length_max}")
    return elements


def _pair(element: Any, index: int) -> tuple[str, dict[Any, Any]]:
    if type(element) is list and len(element) >= 2:
        op, args = element[:2]
        if type(op) is str and type(args) is dict:
            return op, args
    raise InvalidRequest(f"command is {_excerpt(element)}; it must be [str, map]", index=index)


def _optional(
    args: Mapping[Any, Any], key: str, check: Callable[[Mapping[Any, Any], str], str]
) -> str | None:
    return check(args, key) if key in args else None


def _text(args: Mapping[Any, Any], key: str) -> str:
    value = args.get(key)
    if type(value) is not str:
        if key not in args:
            raise InvalidRequest(f"argument {key} is missing")
        raise InvalidRequest(f"{key} is {_excerpt(value)}; it must be a str")
    return value


def _bounded(args: Mapping[Any, Any], key: str, characters_max: int) -> str:
    value = _text(args, key)
    if not 1 <= len(value) <= characters_max:
        raise InvalidRequest(
            f"{key} has {len(value)} characters; allowed are 1 to {characters_max}"
        )
    if "\0" in value:
        raise InvalidRequest(f"{key} has a NUL character at {value.index(chr(0))}; none is allowed")
    return value


def _id(args: Mapping[Any, Any], key: str) -> str:
    return _bounded(args, key, ID_CHARACTERS_MAX)


def _name(args: Mapping[Any, Any], key: str) -> str:
    return _bounded(args, key, NAME_CHARACTERS_MAX)


def _label(args: Mapping[Any, Any], key: str) -> str:
    return _bounded(args, key, LABEL_CHARACTERS_MAX)


def _time(args: Mapping[Any, Any], key: str) -> str:
    try:
        return canonical_time(_text(args, key))
    except InvalidRequest as error:
        raise InvalidRequest(f"{key}: {error.message}") from error


def _excerpt(value: Any) -> str:
    """What a message quotes of `value`. Never the whole, which may be long or deep."""
    match value:
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"a map of {len(value)}"
        case bytes():
            return f"bin of {len(value)} bytes"
        case int() if abs(value) >= 1 << 64:
            return "a very large integer"
    text = repr(value[:MESSAGE_EXCERPT_CHARACTERS_MAX] if type(value) is str else value)
    return text[: 2 * MESSAGE_EXCERPT_CHARACTERS_MAX]
