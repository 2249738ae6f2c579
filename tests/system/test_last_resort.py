"""A damaged database without a backup: what docs/operations.md says of it brings its rows back."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.conftest import ROOT
from tests.databases import damage, query
from tests.system.test_readme import DEADLINE_S, environment, stopping

MESSAGES = 1000
PAGE_BYTES = 4096
LONG = "x" * 600


def recipe() -> str:
    """The commands of the section."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text[text.index("### Last resort") :]
    (shown,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(shown)


def content_of(number: int) -> str:
    return f"<{number}>\0\n' é{LONG}"


def fill(home: Path) -> None:
    with Client(home) as client:
        for number in range(10):
            client.create_session("n", "/w", id=f"s{number}")
        for number in range(MESSAGES):
            client.submit(
                "message.append",
                id=f"m{number}",
                session_id=f"s{number % 10}",
                role="user",
                content=content_of(number),
            )
        client.flush()


def spoil(database: Path, *numbers: int) -> set[int]:
    """Overwrite the pages with these messages, and return all that were in them."""
    data = bytearray(database.read_bytes())
    page_of = {
        int(each[1]): each.start() // PAGE_BYTES
        for each in re.finditer(rb"<(\d+)>\0\n'", bytes(data))
    }
    pages = {page_of[number] for number in numbers}
    for page in pages:
        data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = os.urandom(PAGE_BYTES)
    database.write_bytes(data)
    return {number for number, page in page_of.items() if page in pages}


def test_all_but_the_rows_in_damaged_pages_come_back_in_their_order(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    with running_daemon(home) as daemon:
        fill(home)
        daemon.stop()
        lost = spoil(home / "lulu.db", 200, 500, 501, 900)

        with stopping(home):
            done = subprocess.run(
                ["bash", "-euc", recipe()],
                env=environment(LULUDB_HOME=str(home)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=DEADLINE_S,
            )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be read" in done.stdout
    assert 0 < len(lost) < 40
    found = query(home / "lulu.db", "SELECT id, content FROM messages ORDER BY session_id, rowid")
    left = [
        number
        for session in range(10)
        for number in range(session, MESSAGES, 10)
        if number not in lost
    ]
    assert found == [(f"m{number}", content_of(number)) for number in left]
    assert query(home / "lulu.db", "SELECT count(*) FROM sessions") == [(10,)]
    assert damage(home / "lulu.db") == []
