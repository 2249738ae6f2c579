"""`luludb doctor`: a healthy home has no finding, and nothing is changed."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from tests.databases import make_todays_file
from tests.system.command_line import luludb
from tests.system.doctor.sayings import findings, one, said, write


def test_a_home_with_a_running_daemon_has_no_finding(daemon):
    assert findings(daemon.home) == []
    assert findings(daemon.home, check="full") == []


def test_the_command_ends_with_0_where_nothing_is_wrong_and_says_what_was_looked_at(daemon):
    result = luludb(daemon.home, "doctor", "--json")

    found = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (found["healthy"], found["findings"]) == (True, [])
    assert {"daemon", "integrity", "disk", "wal"} <= {each["check"] for each in found["passed"]}


def test_the_command_ends_with_1_and_prints_the_remedy_where_something_is_wrong(stopped):
    result = luludb(stopped, "doctor")

    (line,) = [line for line in result.stdout.decode().splitlines() if line.startswith("warning")]
    assert (result.returncode, result.stderr) == (1, b"")
    assert line.startswith("warning\tdaemon\t")
    assert line.endswith("\tluludb start")


def test_nothing_is_changed_and_nothing_made(stopped):
    def state():
        paths = sorted(stopped.rglob("*"))
        # Readers write the places that they read at into the shared memory: no content.
        whole = [path for path in paths if path.is_file() and not path.name.endswith("-shm")]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in whole]
        return paths, digests, [path.stat().st_mtime_ns for path in whole]

    before = state()
    said(stopped)
    said(stopped, check="full")

    assert state() == before


def test_a_database_of_another_program_gets_no_files_beside_it(on_a_disk):
    home = Path(tempfile.mkdtemp(dir=on_a_disk))
    make_todays_file(home / "lulu.db")
    write(home, "PRAGMA journal_mode = WAL")
    (home / "lulu.db").chmod(0o600)

    found = one(home, "database", "note")

    assert "takes it over" in found.found
    assert os.listdir(home) == ["lulu.db"]


def test_quick_leaves_the_check_of_every_page_out(daemon):
    assert "integrity" not in {each.check for each in said(daemon.home, check="none")}


def test_what_excludes_each_other_is_refused_as_wrong_usage(tmp_path):
    result = luludb(tmp_path, "doctor", "--quick", "--full")

    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
