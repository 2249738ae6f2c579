"""The Python client of luludb: `from luludb_client import Client, AsyncClient`."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from luludb_client.async_client import AsyncClient

__all__ = [
    "AlreadyExists",
    "AsyncClient",
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


def __getattr__(name: str) -> Any:
    # asyncio takes 20 ms to import, of which programs without it are spared.
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from luludb_client.async_client import AsyncClient

    return AsyncClient
