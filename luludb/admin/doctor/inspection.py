"""What is inside `lulu.db`: asked of a process of its own, which never leaves the caller waiting.

A process of its own, since closing a descriptor of the database would drop every lock that the
caller has on it, and since a damaged file may do anything to who reads it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from luludb.home import Home

_INSPECTOR: Final = "luludb.admin.doctor.inspector"


@dataclass(slots=True)
class Inspection:
    """What was found in the database, as far as it could be read.

    Attributes:
        library: the version of SQLite that looked.
        failure: why it cannot be read.
        is_busy: whether it is another program's lock that keeps from it.
        refusal: why a daemon would not take the file.
        damage: what SQLite's own check says; None where it was not asked.
        repairs: the statements that make missing indexes.
        is_counted: whether the kept replies and the orphans were counted.
    """

    library: str = ""
    failure: str | None = None
    is_busy: bool = False
    refusal: str | None = None
    version: int = 0
    damage: list[str] | None = None
    repairs: list[str] | None = None
    triggers: list[str] | None = None
    foreign_tables: list[str] | None = None
    total_bytes: int = 0
    free_bytes: int = 0
    changes_kept: int = 0
    last_at: str | None = None
    clients: int = 0
    is_counted: bool = False
    reply_chunks: int = 0
    reply_bytes: int = 0
    orphans: int = 0
    orphaned_session: str | None = None


def inspected(home: Home, *, check: str) -> Inspection:
    """Look into the database of `home`, which is there.

    Args:
        home: whose database.
        check: `quick` or `full`; anything else leaves out what takes long.
    """
    command = [sys.executable, "-P", "-m", _INSPECTOR, os.fspath(home.database), check]
    # A group of its own: Ctrl-C ends it through us, and it has nothing to say about that.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    ) as child:
        try:
            printed, complaint = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        lines = complaint.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1] if lines else f"the process that read it ended with {child.returncode}"
        return Inspection(failure=last)
    return Inspection(**json.loads(printed))
