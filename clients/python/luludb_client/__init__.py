"""The Python client of luludb: `from luludb_client import Client`."""

from luludb.errors import (
    AlreadyExists,
    Busy,
    ChangesPruned,
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    InvalidRequest,
    LuludbError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ProtocolMismatch,
    TooLarge,
)
from luludb.model import Change, Message, Session
from luludb_client.client import Client

__all__ = [
    "AlreadyExists",
    "Busy",
    "Change",
    "ChangesPruned",
    "Client",
    "DaemonUnavailable",
    "DataLoss",
    "DiskFull",
    "InvalidRequest",
    "LuludbError",
    "Message",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "ProtocolMismatch",
    "Session",
    "TooLarge",
]
