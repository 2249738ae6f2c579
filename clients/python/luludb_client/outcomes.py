"""What replies and errors are to a caller: the parts of a reply, and the errors made here."""

from __future__ import annotations

from typing import Any

from luludb.errors import ORDER_CODES, PASSING_CODES, LuludbError, OutcomeUnknown
from luludb.model import PROTOCOL
from luludb.wire import Reply
from luludb_client.line import Command

UNKEPT_CODES = PASSING_CODES | ORDER_CODES
"""Refusals that consumed no seq."""


def is_kept(status: int, body: dict[str, Any]) -> bool:
    """Whether an answer consumed its seq and will be the same for ever."""
    return not status or str(body.get("code")) not in UNKEPT_CODES


def answers_of(reply: Reply) -> tuple[list[tuple[int, dict[str, Any]]], int | None]:
    """The `(status, body)` of each command that a reply answers, and how many those are.

    The number is None where the frame was answered as a whole, which may have held several.
    """
    replies = reply.body.get("replies")
    if reply.status or type(replies) is not list:
        return [(reply.status, reply.body)], None if reply.status else 1
    answers = [
        (answer[0], answer[1])
        for answer in replies
        if type(answer) is list and len(answer) >= 2 and type(answer[1]) is dict
    ]
    return answers if len(answers) == len(replies) else [], len(replies)


def good_bodies(reply: Reply) -> list[dict[str, Any]] | None:
    """The bodies of the commands that a reply answers, where all are well formed and none refused.

    What else it is, `answers_of` tells.
    """
    replies = reply.body.get("replies")
    if reply.status:
        return None
    if type(replies) is not list:
        return [reply.body]
    try:
        bodies = [body for status, body in replies if not status]
    except (TypeError, ValueError):
        return None
    return bodies if len(bodies) == len(replies) and set(map(type, bodies)) == {dict} else None


def copy_of(error: LuludbError) -> LuludbError:
    """The same error for another caller: a traceback belongs to one."""
    return type(error)(error.message, code=error.code)


def outcome_unknown(command: Command) -> OutcomeUnknown:
    """What the caller of a command without an answer gets."""
    named = f", id {command.id}" if command.id is not None else ""
    return OutcomeUnknown(
        f"command was sent (seq {command.seq}{named}) and no answer came in time;"
        " it may have been applied",
        seq=command.seq,
        id=command.id,
    )


def protocol_message(protocol: int) -> str:
    """Why a daemon of another protocol is of no use."""
    return f"the daemon speaks protocol {protocol}; this client speaks {PROTOCOL}"
