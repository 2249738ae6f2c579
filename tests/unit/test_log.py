"""The forms of the daemon's log, and that it stays where it is and bounded."""

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from luludb import logfile
from luludb.cli.log import JsonFormatter, PlainFormatter, formatter_for
from luludb.home import Home
from luludb.limits import LOG_FILES_KEPT_MAX
from luludb.logfile import keep_bounded, log_path, open_log

BYTES_MAX = 100


def record(message, *args, **extra):
    made = logging.LogRecord("luludb", logging.WARNING, "f.py", 1, message, args, None)
    made.created, made.msecs = 1_767_225_600.25, 250
    for name, value in extra.items():
        setattr(made, name, value)
    return made


class Terminal(io.StringIO):
    def isatty(self):
        return True


# The forms.


def test_a_terminal_gets_lines_for_a_person_and_all_else_json():
    assert type(formatter_for(Terminal())) is PlainFormatter
    assert type(formatter_for(io.StringIO())) is JsonFormatter


def test_a_plain_line_has_time_level_and_message():
    line = PlainFormatter().format(record("%s\n\x1b[2J", "a ü"))

    assert line == r"2026-01-01T00:00:00.250Z WARNING a ü\n\x1b[2J"


def test_a_json_line_has_the_fields_of_its_event():
    line = JsonFormatter().format(record("%d\u2028 ü", 3, fields={"event": "e", "waited_ms": 5}))

    assert "\n" not in line
    assert "\u2028" not in line
    assert "ü" in line
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.250Z",
        "level": "warning",
        "pid": os.getpid(),
        "message": "3\\u2028 ü",
        "event": "e",
        "waited_ms": 5,
    }


def test_a_json_line_has_a_traceback_in_it_and_stays_one_line():
    try:
        raise ValueError("wrong")
    except ValueError:
        line = JsonFormatter().format(record("m", exc_info=sys.exc_info()))

    assert "\n" not in line
    assert "ValueError: wrong" in json.loads(line)["traceback"]


# The file.


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A log that is full soon."""
    monkeypatch.setattr(logfile, "LOG_FILE_BYTES_MAX", BYTES_MAX)
    home = Home(tmp_path)
    home.log.mkdir()
    return log_path(home)


@pytest.fixture
def written(path):
    descriptor = open_log(path)
    yield descriptor
    os.close(descriptor)


def names(path):
    return sorted(each.name for each in path.parent.iterdir())


def test_a_log_that_is_not_full_goes_on(path, written):
    os.write(written, b"x" * (BYTES_MAX - 1))

    keep_bounded(path, written_to=(written,))

    assert names(path) == ["daemon.log"]
    assert os.fstat(written).st_ino == path.stat().st_ino


def test_a_log_that_is_full_is_put_aside_and_the_oldest_goes(path, written):
    for number in range(LOG_FILES_KEPT_MAX + 3):
        os.write(written, f"{number}".encode() * BYTES_MAX)
        keep_bounded(path, written_to=(written,))

    assert names(path) == ["daemon.log", *(f"daemon.log.{n}" for n in range(1, LOG_FILES_KEPT_MAX))]
    assert path.read_bytes() == b""
    assert path.with_name("daemon.log.1").read_text()[0] == f"{LOG_FILES_KEPT_MAX + 2}"
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("go", [os.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_log_that_was_moved_away_begins_anew_and_nothing_is_rotated(path, written, go):
    os.write(written, b"x" * BYTES_MAX)
    go(path)

    keep_bounded(path, written_to=(written,))

    assert os.write(written, b"new") == 3
    assert path.read_bytes() == b"new"
    assert "daemon.log.1" not in names(path)


def test_where_no_new_log_can_be_made_the_old_one_goes_on(path, written):
    path.unlink()
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        keep_bounded(path, written_to=(written,))

    assert os.write(written, b"on") == 2


def test_a_log_is_no_link_to_elsewhere(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        open_log(path)

    assert not (tmp_path / "elsewhere").exists()


MANY_LINES = """
import logging, sys
from pathlib import Path
from luludb import logfile
from luludb.cli.log import log_to_file

logfile.LOG_FILE_BYTES_MAX = 2000
log_to_file(Path(sys.argv[1]), "info")
for number in range(200):
    logging.getLogger("luludb").info("line %d", number)
sys.stdout.write("written beside logging")
"""


def test_what_a_process_logs_goes_into_files_of_bounded_size_line_by_line(path):
    descriptor = open_log(path)
    command = [sys.executable, "-c", MANY_LINES, str(path)]
    subprocess.run(command, stdout=descriptor, stderr=descriptor, check=True, timeout=60)
    os.close(descriptor)

    *lines, last = path.read_text().splitlines()
    before = path.with_name("daemon.log.1").read_text().splitlines()
    assert last == "written beside logging"
    numbers = [int(json.loads(line)["message"].split()[1]) for line in [*before, *lines]]
    assert numbers == list(range(200 - len(numbers), 200))
    assert len(names(path)) == LOG_FILES_KEPT_MAX
    assert max(each.stat().st_size for each in path.parent.iterdir()) < 2000 + 200
