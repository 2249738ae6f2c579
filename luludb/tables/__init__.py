"""The SQL of each table, one module a table, on any connection that has `execute`.

The daemon runs these functions on apsw and the client on the standard library's sqlite3; both
answer `execute(sql, parameters)` with a cursor over rows. Nothing else in luludb knows SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Connection(Protocol):
    """What both SQLite libraries have in common, as far as it is used here."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
