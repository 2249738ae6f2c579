"""What the doctor says of the home and its settings, and that the remedies help."""

import contextlib
import fcntl
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from luludb.platform import file_system_of
from luludb_client.testing import running_daemon
from tests.system.command_line import DEADLINE_S
from tests.system.doctor.sayings import findings, one, run

# The imports come first: the interpreter may be where only this user can read.
AS_ANOTHER_USER = """
import json, os, pathlib, sys
from luludb.admin.doctor import examine
from luludb.home import Home

os.setuid(65534)
home = Home(pathlib.Path(sys.argv[1]))
said = examine(home, check=None, timeout_s=1, show=lambda *_: None)
print(json.dumps([[each.check, each.remedy] for each in said if each.level.is_finding]))
"""


# The home.


def test_a_home_that_is_not_there_is_told_with_how_to_make_it(on_a_disk):
    home = on_a_disk / "not there"

    found = one(home, "home", "warning")

    assert found.remedy == f"luludb start --home {shlex.quote(str(home))}"
    assert not home.exists()


def test_a_home_that_is_a_file_is_told(on_a_disk):
    home = on_a_disk / "file"
    home.touch()

    assert one(home, "home").remedy.startswith(f"mv {home} {home}.old")


def test_files_that_are_open_to_others_are_told_and_closed_by_the_remedy(daemon):
    (daemon.home / "lulu.db").chmod(0o644)

    found = one(daemon.home, "permissions", "warning")
    run(found.remedy)

    assert found.remedy == f"chmod 600 {daemon.home / 'lulu.db'}"
    assert findings(daemon.home) == []


def test_a_file_that_a_daemon_could_not_write_is_told(stopped):
    (stopped / "lulu.db").chmod(0o400)

    assert one(stopped, "permissions").remedy == f"chmod 600 {stopped / 'lulu.db'}"


@pytest.mark.skipif(os.getuid() != 0, reason="privilege: only root can give files away")
def test_a_home_of_another_user_is_told(stopped):
    os.chown(stopped, 12345, -1)

    assert one(stopped, "owner").remedy == f"sudo chown -R 0 {stopped}"


@pytest.mark.skipif(os.getuid() != 0, reason="privilege: only root can become another user")
def test_a_home_that_is_closed_to_this_user_is_told_once(stopped, on_a_disk):
    for directory in (stopped.parent, on_a_disk):
        directory.chmod(0o711)

    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, str(stopped)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.stderr == b""
    assert json.loads(done.stdout) == [["access", f"ls -ld {stopped}"]]


def test_a_database_that_is_a_symbolic_link_is_told_and_put_there_by_the_remedy(stopped):
    elsewhere = stopped.parent / "elsewhere.db"
    (stopped / "lulu.db").rename(elsewhere)
    (stopped / "lulu.db").symlink_to(elsewhere)

    run(one(stopped, "link").remedy)

    assert "link" not in {each.check for each in findings(stopped)}
    assert not (stopped / "lulu.db").is_symlink()


@pytest.mark.skipif(
    file_system_of(Path("/dev/shm")) != "tmpfs", reason="platform: /dev/shm is no tmpfs"
)
def test_a_home_in_memory_is_told():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
        found = one(Path(home), "file system", "warning")

    assert "gone at the next boot" in found.found
    assert found.remedy.startswith("luludb backup ")


def test_a_log_that_may_outgrow_the_disk_is_told(stopped):
    (stopped / "luludb.toml").write_text('wal_bytes_max = "1000 TiB"\n')
    (stopped / "luludb.toml").chmod(0o600)

    found = one(stopped, "disk", "warning")

    assert "wal_bytes_max" in found.found
    assert found.remedy == f"df -h {stopped}"


def test_half_of_a_backup_is_told_and_removed_by_the_remedy_but_not_that_of_a_run_that_lives(
    daemon,
):
    left, living = daemon.home / ".luludb-left.part", daemon.home / ".luludb-living.part"
    for directory in (left, living):
        directory.mkdir(mode=0o700)
        (directory / "lulu.db").write_bytes(b"x" * 1000)
    descriptor = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = one(daemon.home, "leftovers", "warning")
        run(found.remedy)
        assert findings(daemon.home) == []
    finally:
        os.close(descriptor)

    assert "1,000 bytes" in found.found
    assert (left.exists(), living.exists()) == (False, True)


def test_sockets_that_nobody_listens_at_are_a_note(stopped):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(stopped / "run" / "command.sock"))

    assert "command.sock" in one(stopped, "leftovers", "note").found


def test_a_path_that_is_too_long_for_a_socket_is_a_note_and_no_finding(on_a_disk):
    home = on_a_disk / ("long" * 30)
    with running_daemon(home):
        assert "temporary directory" in one(home, "sockets", "note").found
        assert findings(home) == []


# The settings.


@pytest.mark.parametrize(
    ("text", "naming"),
    [
        pytest.param('durabilty = "full"', "durabilty", id="unknown-key"),
        pytest.param('durability = "fast"', "'fast'", id="value-not-allowed"),
        pytest.param("durability =", "cannot be read", id="no-toml"),
    ],
)
def test_settings_that_a_daemon_would_refuse_are_told(stopped, text, naming):
    (stopped / "luludb.toml").write_text(text)

    found = one(stopped, "settings")

    assert naming in found.found
    assert found.remedy == f"luludb config --home {stopped}"


def test_a_variable_that_overrides_the_file_and_one_that_is_misspelt_are_notes(daemon, monkeypatch):
    (daemon.home / "luludb.toml").write_text('log_level = "debug"')
    (daemon.home / "luludb.toml").chmod(0o600)
    monkeypatch.setenv("LULUDB_LOG_LEVEL", "info")
    monkeypatch.setenv("LULUDB_DURABILTY", "full")

    assert one(daemon.home, "settings", "note").remedy == "unset LULUDB_LOG_LEVEL"
    assert one(daemon.home, "environment", "note").remedy == "unset LULUDB_DURABILTY"
    assert findings(daemon.home) == []


def test_a_daemon_at_another_durability_than_the_settings_is_a_note(stopped):
    with running_daemon(stopped, args=("--durability", "full")):
        found = one(stopped, "durability", "note")

    assert "full" in found.found
    assert found.remedy == f"luludb restart --home {stopped}"
