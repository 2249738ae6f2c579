"""What each writing method asks for, and what its reply's body means to the caller.

Used by every client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from luludb.commands import CONTROL_OPS, DURABILITIES, PIPELINE, TRANSACTION
from luludb.errors import InvalidRequest, TooLarge
from luludb.ids import new_id
from luludb.limits import (
    CLIENT_TIMEOUT_S_MAX,
    FRAME_BYTES_MAX,
    INTEGER_MAX,
    MESSAGE_EXCERPT_CHARACTERS_MAX,
    NESTING_DEPTH_MAX,
    TRANSACTION_COMMANDS_MAX,
)
from luludb.model import Message, Session, new_message
from luludb.wire import encode_content, encode_request
from luludb_client.line import Packed

Result = TypeVar("Result")

_CREATING_OPS = frozenset({"session.create", "message.append"})
_CONTENT_BYTES_MAX = FRAME_BYTES_MAX - len(
    encode_request(bytes(16), INTEGER_MAX, INTEGER_MAX, b"", full=True)
)


Operation = tuple[str, dict[str, Any], Callable[[dict[str, Any], dict[str, Any]], Result]]
"""One command of one of the client's methods: op, args, and what the reply's body means with them.

A plain tuple and a function without a closure: a named tuple and a closure took 2,000 instructions
more of each call."""


def create_session(
    name: str, working_dir: str, *, id: str | None, status: str
) -> Operation[Session]:
    args = {
        "id": new_id() if id is None else id,
        "name": name,
        "working_dir": working_dir,
        "status": status,
    }
    return "session.create", args, _session


def update_session(
    id: str, *, name: str | None, status: str | None, working_dir: str | None
) -> Operation[Session]:
    changed = {"name": name, "status": status, "working_dir": working_dir}
    args = {"id": id, **{key: value for key, value in changed.items() if value is not None}}
    return "session.update", args, _session


def delete_session(id: str) -> Operation[int]:
    return "session.delete", {"id": id}, lambda body, _: int(body["deleted_messages"])


def append_message(
    session_id: str, role: str, content: str, id: str | None, timestamp: str | None
) -> Operation[Message]:
    # In the order of their names, in which the daemon makes its digest of them: no sorting there.
    args = {
        "content": content,
        "id": new_id() if id is None else id,
        "role": role,
        "session_id": session_id,
    }
    if timestamp is not None:
        args["timestamp"] = timestamp
    return "message.append", args, _message


def update_message(id: str, content: str) -> Operation[Message]:
    args = {"id": id, "content": content}
    return "message.update", args, _message


def delete_message(id: str) -> Operation[None]:
    return "message.delete", {"id": id}, lambda *_: None


def free_operation(op: str, args: Mapping[str, Any]) -> Operation[dict[str, Any]]:
    """The command that a caller of `submit` put together: an id is made where one is missing.

    Raises:
        InvalidRequest: op is no command, or an argument cannot be sent.
    """
    # Args go in the order of their names, in which the daemon makes its digest: no sorting there.
    if op == "message.append" and len(args) == 3:
        content, role, session_id = args.get("content"), args.get("role"), args.get("session_id")
        if type(content) is type(role) is type(session_id) is str:
            # Nearly every command there is, in 7,000 instructions less than what follows takes.
            sent = {"content": content, "id": new_id(), "role": role, "session_id": session_id}
            return op, sent, _whole
    if type(op) is not str:
        raise InvalidRequest(f"op is {_excerpt(op)}; it must be a str")
    if op == PIPELINE or op in CONTROL_OPS:
        raise InvalidRequest(f"op is {op}; submit takes commands alone, and pipelines them itself")
    if op in _CREATING_OPS and args.get("id") is None:
        args = {**args, "id": new_id()}
    checked = {key: args[key] for key in sorted(args) if args[key] is not None}
    for value in checked.values():
        if type(value) is not str:
            _check_sendable(value, 0)
    if op == TRANSACTION:
        checked["commands"] = _with_ids(checked.get("commands"))
    return op, checked, _whole


def transaction(commands: list[tuple[str, dict[str, Any]]]) -> Operation[list[dict[str, Any]]]:
    """Commands that are applied together or not at all; the result is one map for each."""
    return TRANSACTION, {"commands": commands}, lambda body, _: list(body["results"])


def pack(operation: Operation[Any], durability: str | None) -> Packed:
    """What is sent of an operation.

    Raises:
        InvalidRequest: durability is no level, or an argument cannot be sent.
        TooLarge: it does not fit in one frame.
    """
    if durability is not None:
        check_durability(durability)
    op, args, _ = operation
    content = encode_content(op, args)
    if len(content) > _CONTENT_BYTES_MAX:
        raise TooLarge(f"{op} has {len(content)} bytes; the most is {_CONTENT_BYTES_MAX}")
    id = args.get("id")
    if type(id) is not str:
        id = None
    count = 1
    if op == TRANSACTION and isinstance(commands := args.get("commands"), list):
        count = len(commands)
    return content, id, durability == "full", count


def check_durability(durability: object) -> None:
    """Refuse a durability that does not exist.

    Raises:
        InvalidRequest: it is neither None nor one of the two levels.
    """
    if durability is not None and durability not in DURABILITIES:
        raise InvalidRequest(
            f"durability is {_excerpt(durability)}; allowed are {' and '.join(DURABILITIES)}"
        )


def check_text(name: str, value: object) -> None:
    """Refuse what is not a text.

    Raises:
        InvalidRequest: `value` is not a str.
    """
    if type(value) is not str:
        raise InvalidRequest(f"{name} is {_excerpt(value)}; it must be a str")


def check_timeout(timeout_s: object) -> float:
    """The timeout in seconds.

    Raises:
        InvalidRequest: it is no number above 0 and up to 1,000,000.
    """
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise InvalidRequest(f"timeout_s is {_excerpt(timeout_s)}; it must be a number of seconds")
    if not 0 < timeout_s <= CLIENT_TIMEOUT_S_MAX:
        raise InvalidRequest(
            f"timeout_s is {timeout_s}; allowed is above 0 and up to {CLIENT_TIMEOUT_S_MAX:g}"
        )
    return float(timeout_s)


def check_transaction_length(length: int) -> None:
    """Refuse a transaction that is too long.

    Raises:
        TooLarge: it has more than 10,000 commands.
    """
    if length > TRANSACTION_COMMANDS_MAX:
        raise TooLarge(f"transaction has {length} commands; the most is {TRANSACTION_COMMANDS_MAX}")


def _whole(body: dict[str, Any], _: object) -> dict[str, Any]:
    return body


def _session(body: dict[str, Any], _: object) -> Session:
    row = body["session"]
    return Session(
        row["id"],
        row["name"],
        row["status"],
        row["working_dir"],
        row["created_at"],
        row["updated_at"],
    )


def _message(body: dict[str, Any], args: dict[str, Any]) -> Message:
    row = body["message"]
    return new_message(row["id"], row["session_id"], row["role"], args["content"], row["timestamp"])


def _with_ids(commands: Any) -> Any:
    if not isinstance(commands, list | tuple):
        return commands
    return [
        [element[0], {"id": new_id(), **element[1]}]
        if isinstance(element, list | tuple)
        and len(element) == 2
        and isinstance(element[1], dict)
        and element[0] in _CREATING_OPS
        else element
        for element in commands
    ]


def _check_sendable(value: Any, depth: int) -> None:
    # The daemon drops a frame that does not decode whole, and could not say which command it
    # was: a map's key that decodes to a list, for one, or an extension type.
    if depth > NESTING_DEPTH_MAX:
        raise InvalidRequest(f"arguments are nested deeper than {NESTING_DEPTH_MAX} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_text("a map's key", key)
            _check_sendable(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_sendable(inner, depth + 1)
    elif value is not None and not isinstance(value, str | int | float | bytes):
        raise InvalidRequest(
            f"argument is {_excerpt(value)}; it must be a str, int, float, bool, bytes, list or map"
        )


def _excerpt(value: object) -> str:
    return repr(value)[:MESSAGE_EXCERPT_CHARACTERS_MAX]
