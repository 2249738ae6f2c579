"""Compact: the free pages of the database given back to the disk, while everyone writes.

The daemon does it, some pages a request; between requests it serves the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luludb.commands import COMPACT
from luludb.errors import Busy, LuludbError, Overloaded
from luludb.home import Home
from luludb.limits import COMPACT_CHECKPOINT_S_MAX, COMPACT_PAGES_MAX, COMPACT_PAUSE_S
from luludb_client import control
from luludb_client.operations import check_timeout

Show = Callable[[str, int, int | None], None]
"""Shows how far it is: what is being done, how much of it is done, and the whole if known."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was given back.

    Attributes:
        bytes_before, bytes_after: of the database, as its header tells.
        file_bytes: of the file, which stays longer than that while someone reads an old state.
    """

    freed_pages: int
    bytes_before: int
    bytes_after: int
    file_bytes: int


def compact(home: Home, timeout_s: float, show: Show) -> Compacted:
    """Give back the pages that are free now. It can be repeated, and ended at any time.

    Raises:
        DaemonUnavailable: no daemon answers.
        Busy, Overloaded: for `timeout_s` no page could be given back.
        LuludbError: the database must first be compacted offline, or it cannot go on.
    """
    timeout_s = check_timeout(timeout_s)
    before = _ask(home, timeout_s, pages=0)
    total = before["free_pages"]
    if total and not before["is_possible"]:
        raise LuludbError(
            f"{home.database} was made by another program and cannot give back its {total:,} free"
            " pages while it is in use. Once: luludb stop, then luludb compact --offline",
            code="needs_offline",
        )
    freed = 0
    progress_s = time.monotonic()
    while freed < total:
        show("compacting", freed, total)
        try:
            after = _ask(home, timeout_s, pages=min(total - freed, COMPACT_PAGES_MAX))
        except (Busy, Overloaded):
            if time.monotonic() - progress_s >= timeout_s:
                raise
            after = before
        else:
            freed += after["freed_pages"]
            if not after["free_pages"]:
                break
            if after["freed_pages"]:
                progress_s = time.monotonic()
            elif time.monotonic() - progress_s >= timeout_s:
                raise Busy(f"no page was given back for {timeout_s:g} s; try again later")
        time.sleep(COMPACT_PAUSE_S)
    after, file_bytes = _wait_until_shorter(home, timeout_s)
    return Compacted(freed, _bytes(before), _bytes(after), file_bytes)


def _wait_until_shorter(home: Home, timeout_s: float) -> tuple[dict[str, Any], int]:
    """What the daemon tells at last, and how long the file is.

    Behind each such request the daemon copies the log back, as far as readers let it.
    """
    until_s = time.monotonic() + COMPACT_CHECKPOINT_S_MAX
    while True:
        found = _ask(home, timeout_s, pages=0)
        time.sleep(COMPACT_PAUSE_S)
        file_bytes = home.database.stat().st_size
        if file_bytes <= _bytes(found) or time.monotonic() >= until_s:
            return found, file_bytes


def _ask(home: Home, timeout_s: float, *, pages: int) -> dict[str, Any]:
    return control.ask(home, COMPACT, timeout_s, {"pages": pages})


def _bytes(found: dict[str, Any]) -> int:
    return int(found["pages"] * found["page_bytes"])
