"""Looks into `lulu.db` over a connection that cannot write, and prints what it finds as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

import apsw

from luludb.admin.copying import snapshot
from luludb.admin.doctor.inspection import Inspection
from luludb.errors import StartRefused
from luludb.limits import DOCTOR_DAMAGE_LINES_MAX
from luludb.tables import changes, ledger, messages, meta, schema

_NICENESS: Final = 10
# sqlite.org/fileformat2.html, section 1.3: the version that says "has a log".
_VERSION_BYTE: Final = 18
_HAS_LOG: Final = b"\x02"
_CHECKS: Final = {"quick": "quick_check", "full": "integrity_check"}


def inspect(path: Path, check: str) -> Inspection:
    """Look into the database.

    Args:
        path: of the database; it is there.
        check: `quick` or `full`; anything else leaves out what takes long.
    """
    found = Inspection(library=apsw.sqlite_lib_version())
    try:
        with snapshot(path, is_immutable=_is_at_rest(path)) as connection:
            _look_at_schema(connection, found)
            if check in _CHECKS:
                rows = connection.execute(f"PRAGMA {_CHECKS[check]}({DOCTOR_DAMAGE_LINES_MAX})")
                found.damage = [str(text) for (text,) in rows if text != "ok"]
            if found.refusal is None and found.version:
                _look_at_rows(connection, found, is_long=check in _CHECKS)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        found.damage = [*(found.damage or ()), str(error)]
    except (apsw.BusyError, apsw.LockedError) as error:
        found.failure, found.is_busy = str(error), True
    except (apsw.Error, OSError) as error:
        found.failure = str(error)
    return found


def main() -> None:
    """Print what is found in the database that the first argument names, as JSON."""
    os.nice(_NICENESS)
    path, check = sys.argv[1:]
    sys.stdout.write(json.dumps(asdict(inspect(Path(path), check))))


def _is_at_rest(path: Path) -> bool:
    """Whether a connection of the usual kind would make a log beside a file that has none.

    A file in rollback mode gets nothing beside it. One with a log has `-shm` beside it while a
    program has it open, and a log that is not empty must be read.
    """
    beside = [path.with_name(path.name + end) for end in ("-shm", "-wal")]
    if any(each.exists() for each in beside):
        return False
    with path.open("rb") as file:
        return file.read(_VERSION_BYTE + 1)[_VERSION_BYTE:] == _HAS_LOG


def _look_at_schema(connection: apsw.Connection, found: Inspection) -> None:
    page_bytes = int(connection.execute("PRAGMA page_size").get)
    found.total_bytes = page_bytes * int(connection.execute("PRAGMA page_count").get)
    found.free_bytes = page_bytes * int(connection.execute("PRAGMA freelist_count").get)
    found.version = schema.read_version(connection)
    try:
        if not schema.is_empty(connection):
            schema.check_is_ours(connection)
            if found.version:
                schema.check_is_whole(connection, name="lulu.db")
    except StartRefused as error:
        found.refusal = error.message
        return
    found.triggers = schema.triggers(connection)
    found.foreign_tables = schema.foreign_tables(connection)
    if found.version:
        found.repairs = schema.missing_indexes(connection)


def _look_at_rows(connection: apsw.Connection, found: Inspection, *, is_long: bool) -> None:
    marks = meta.read_marks(connection)
    found.changes_kept = marks.last_rev - marks.first_rev + 1
    newest = changes.newest(connection, session_id=None, rows_max=1)
    found.last_at = newest[0][-1] if newest else None
    found.clients = ledger.count_clients(connection)
    if not is_long:
        return
    found.is_counted = True
    found.reply_chunks, found.reply_bytes = ledger.kept_size(connection)
    if not found.repairs:  # without its index it is not to be had
        found.orphans = messages.count_orphans(connection)
        if found.orphans:
            found.orphaned_session = messages.an_orphaned_session(connection)


if __name__ == "__main__":
    main()
