"""Every error that luludb raises or sends, grouped by when it happens.

The class answers two questions: was it kept, and may I send it again? Each class has the
`code` that stands for it on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LuludbError(Exception):
    """Base of all. Raised itself for a code of the daemon that has no class of its own.

    Attributes:
        code: the wire's code, one of `WIRE_CODES` for what a daemon answered.
        details: what the reply said beside code and message, such as `index` or `expected`.
    """

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.details = details

    def body(self) -> dict[str, Any]:
        """The error as the body of a reply."""
        return {"code": self.code, "message": self.message, **self.details}


# The command was looked at and refused. Nothing was changed; sending it again changes nothing.


class InvalidRequest(LuludbError, ValueError):
    """Is returned when a request, an argument or a setting is not of the form it must have."""

    code = "invalid"


class UnknownOp(LuludbError):
    """Is returned when the daemon has no operation of that name."""

    code = "unknown_op"


class NotFound(LuludbError, LookupError):
    """Is returned when the session or message named does not exist."""

    code = "not_found"


class AlreadyExists(LuludbError):
    """Is returned when the id is taken. Who sends an id of its own again may take it for done."""

    code = "already_exists"


class TooLarge(LuludbError):
    """Is returned when a request or its reply has more bytes than may be sent."""

    code = "too_large"


# Passing: nothing was changed, and the same command may succeed later.


class Busy(LuludbError):
    """Is returned when another program held the write lock of the database for too long."""

    code = "busy"


class Overloaded(LuludbError):
    """Is returned when a client has more unanswered commands than its window."""

    code = "overloaded"


class DiskFull(LuludbError):
    """Is returned when there was no room to write. What was acknowledged before is kept."""

    code = "disk_full"


class ShuttingDown(LuludbError):
    """Is returned when the daemon stops before it has applied the command."""

    code = "shutting_down"


# The order of things was not kept. A client of ours mends these by itself.


class UnsupportedProtocol(LuludbError):
    """Is returned when the request is of a protocol that the daemon does not speak."""

    code = "unsupported_protocol"


class UnknownClient(LuludbError):
    """Is returned when the client_id never said hello, or was forgotten."""

    code = "unknown_client"


class StaleConnection(LuludbError):
    """Is returned when the client_id did not say hello last on this connection."""

    code = "stale_connection"


class OutOfOrder(LuludbError):
    """Is returned when a seq is above the next one; `expected` is that one."""

    code = "out_of_order"


class SequenceReused(LuludbError):
    """Is returned when a seq was used before with other content, or is already acknowledged."""

    code = "sequence_reused"


# The client's own: what it can say when there is no answer, or a wrong one.


class DaemonUnavailable(LuludbError):
    """Is raised when no daemon could be reached. Nothing was sent."""

    code = "daemon_unavailable"


class OutcomeUnknown(LuludbError):
    """Is raised when a command was sent and no answer came in time. It may have been applied.

    Attributes:
        seq: the command's sequence number, None if it has none any more.
        id: the id of the session or message that the command names, or None.
    """

    code = "outcome_unknown"

    def __init__(self, message: str, *, seq: int | None = None, id: str | None = None) -> None:
        super().__init__(message, seq=seq, id=id)
        self.seq = seq
        self.id = id


class ProtocolMismatch(LuludbError):
    """Is raised when the daemon speaks another protocol than this client."""

    code = "protocol_mismatch"


class DataLoss(LuludbError):
    """Is raised when the database lacks writes that were seen before: power loss, or a restore."""

    code = "data_loss"


class ChangesPruned(LuludbError):
    """Is raised when the changes asked for are no longer kept."""

    code = "changes_pruned"


# The daemon's own: it does not start, or it stops.


class StartRefused(LuludbError):
    """Is raised when the daemon must not start here; the message says what to do."""

    code = "start_refused"


class StorageFailed(LuludbError):
    """Is raised when the disk failed. What was kept is not known: no reply is sent."""

    code = "storage_failed"


_WIRE_ERRORS = (
    InvalidRequest,
    UnknownOp,
    UnsupportedProtocol,
    UnknownClient,
    StaleConnection,
    OutOfOrder,
    SequenceReused,
    TooLarge,
    NotFound,
    AlreadyExists,
    Busy,
    Overloaded,
    DiskFull,
    ShuttingDown,
)
_BY_CODE: Mapping[str, type[LuludbError]] = {error.code: error for error in _WIRE_ERRORS}

WIRE_CODES = (*_BY_CODE, LuludbError.code)
"""Every code that a daemon may answer."""

PASSING_CODES = frozenset({Busy.code, Overloaded.code, DiskFull.code, ShuttingDown.code})
"""Refusals that consume no seq and are not kept: the command may be sent again."""

ORDER_CODES = frozenset(
    {
        UnsupportedProtocol.code,
        UnknownClient.code,
        StaleConnection.code,
        OutOfOrder.code,
        SequenceReused.code,
    }
)
"""Refusals that consume no seq and are not kept: the order of requests was not as it must be."""


def error_from_body(body: Mapping[str, Any]) -> LuludbError:
    """The error that a reply's body tells, of the class of its code."""
    details = dict(body)
    code = str(details.pop("code", LuludbError.code))
    message = str(details.pop("message", "the daemon gave no message"))
    details.pop("durability", None)
    details = {str(key): value for key, value in details.items()}
    kind = _BY_CODE.get(code)
    error = kind(message) if kind else LuludbError(message, code=code)
    error.details = details  # not as arguments: one may be called `self`
    return error
