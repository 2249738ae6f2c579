"""`luludb doctor`: a healthy home has no finding; each broken state has its own, and a remedy."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import resource
import select
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from luludb.admin.doctor import examine
from luludb.home import Home
from luludb.limits import CLIENT_TIMEOUT_S
from luludb.platform import file_system_of
from luludb_client import Client
from luludb_client.testing import running_daemon
from tests import foreign
from tests.conftest import ROOT
from tests.databases import make_todays_file
from tests.serving import serving
from tests.system.command_line import DEADLINE_S, luludb

IN_MEMORY = ("tmpfs", "ramfs")
HOLDING_THE_LOCK = """
import fcntl, os, sys

descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("holds", flush=True)
sys.stdin.readline()
"""
OF_ANOTHER_VERSION = """
import sys
import luludb
luludb.__version__ = "0.0.1"
from luludb.cli import main
main()
"""

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


@pytest.fixture(scope="module")
def on_a_disk():
    """A directory whose files are not in memory, where a home can be healthy."""
    for parent in (tempfile.gettempdir(), "/var/tmp", str(ROOT)):
        if file_system_of(Path(parent)) not in IN_MEMORY:
            break
    path = Path(tempfile.mkdtemp(prefix="lulu", dir=parent))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def stopped_template(on_a_disk):
    """A home with a session and a message, whose daemon was stopped."""
    with running_daemon(on_a_disk / "template") as daemon:
        with Client(daemon.home) as client:
            session = client.create_session("one", "/w", id="s")
            client.append_message(session.id, "user", "hello")
        daemon.stop()
    return on_a_disk / "template"


@pytest.fixture
def stopped(on_a_disk, stopped_template):
    """A copy of that home for one test."""
    parent = Path(tempfile.mkdtemp(dir=on_a_disk))
    shutil.copytree(stopped_template, parent / "h")
    return parent / "h"


@pytest.fixture
def daemon(stopped):
    """A daemon on such a home."""
    with running_daemon(stopped) as daemon:
        yield daemon


def said(home, *, check=None, timeout_s=CLIENT_TIMEOUT_S):
    return examine(
        Home(home), check=check, timeout_s=timeout_s, show=lambda _verb, _done, _total: None
    )


def findings(home, **options):
    return [each for each in said(home, **options) if each.level.is_finding]


def one(home, check, level="problem", **options):
    """What the check of that name says, of that level; there is one such."""
    found = said(home, **options)
    (wanted,) = [each for each in found if (each.check, each.level) == (check, level)]
    return wanted


def run(remedy):
    """Type the remedy."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", remedy],
        env={**os.environ, "PATH": path},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done


def write(home, *statements):
    """Another program changes the database."""
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# Health.


def test_a_home_with_a_running_daemon_has_no_finding(daemon):
    assert findings(daemon.home) == []
    assert findings(daemon.home, check="full") == []


def test_the_command_ends_with_0_where_nothing_is_wrong_and_says_what_was_looked_at(daemon):
    result = luludb(daemon.home, "doctor", "--json")

    found = json.loads(result.stdout)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (found["healthy"], found["findings"]) == (True, [])
    assert {"daemon", "integrity", "disk", "log"} <= {each["check"] for each in found["passed"]}


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


# The daemon.


def test_a_stopped_daemon_is_told_with_how_to_start_it(stopped):
    assert [each.check for each in findings(stopped)] == ["daemon"]
    assert one(stopped, "daemon", "warning").remedy == f"luludb start --home {stopped}"


def test_a_daemon_that_was_killed_is_told_from_one_that_was_stopped(daemon):
    daemon.kill()

    found = one(daemon.home, "daemon", "warning")

    assert "killed" in found.found
    assert found.remedy == f"luludb start --home {daemon.home}"


def test_a_daemon_that_stands_still_is_told_and_goes_on_by_the_remedy(daemon):
    os.kill(daemon.pid, signal.SIGSTOP)

    found = one(daemon.home, "daemon", timeout_s=0.3)
    run(found.remedy)

    assert found.remedy == f"kill -CONT {daemon.pid}"
    assert findings(daemon.home) == []


def test_a_daemon_whose_socket_was_removed_is_told_and_serves_again_by_the_remedy(daemon):
    (daemon.home / "run" / "command.sock").unlink()

    found = one(daemon.home, "daemon")

    run(found.remedy)
    left = findings(daemon.home)
    run(f"luludb stop --home {daemon.home}")

    assert f"pid {daemon.pid}" in found.found
    assert found.remedy == f"kill {daemon.pid} && luludb start --home {daemon.home}"
    assert left == []


def test_a_copy_of_a_home_that_names_the_daemon_of_the_other_is_told(daemon, on_a_disk):
    copy = on_a_disk / "copy"
    shutil.copytree(daemon.home, copy, ignore=shutil.ignore_patterns("*.sock"))

    found = one(copy, "daemon")

    assert str(daemon.home) in found.found
    assert found.remedy.startswith(f"rm {copy / 'run' / 'daemon.json'} && luludb start")


def test_a_lock_file_that_was_removed_is_told(daemon):
    (daemon.home / "lulu.lock").unlink()

    assert one(daemon.home, "lock").remedy == f"luludb restart --home {daemon.home}"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_process_that_holds_the_lock_and_does_not_serve_is_told(stopped):
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDING_THE_LOCK, str(stopped / "lulu.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        program.stdout.readline()
        found = one(stopped, "daemon", "warning")
        program.kill()

    assert found.remedy == f"kill {program.pid}"


def test_a_daemon_of_another_version_than_is_installed_is_told(stopped):
    program = subprocess.Popen(
        [sys.executable, "-c", OF_ANOTHER_VERSION, "serve", "--home", str(stopped)],
        stderr=subprocess.PIPE,
    )
    with program:
        try:
            while b" serves " not in program.stderr.readline():
                assert program.poll() is None
            found = one(stopped, "version", "warning")
        finally:
            program.terminate()
            program.stderr.read()

    assert "0.0.1" in found.found
    assert found.remedy == f"luludb restart --home {stopped}"


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="platform: no /proc")
def test_a_daemon_that_runs_out_of_open_files_is_told(stopped):
    with serving(stopped) as server:
        has = len(os.listdir(f"/proc/{server.pid}/fd"))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (has + 3, has + 3))

        found = one(stopped, "open files")

    assert found.remedy == f"ulimit -n 65536; luludb restart --home {stopped}"


def test_a_failure_of_storage_is_told_with_what_it_was(stopped):
    (stopped / "storage-failed").write_text("2026-01-01 a checkpoint failed: disk I/O error\n")

    found = one(stopped, "storage")

    assert "disk I/O error" in found.found
    assert found.remedy == f"luludb start --home {stopped}"


def test_a_service_whose_program_is_gone_is_told(stopped, monkeypatch):
    units = stopped.parent / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "luludb-0123abcd.service").write_text(
        f'[Service]\nExecStart=/gone/luludb serve --home "{stopped}"\n'
    )
    (units / "luludb.service").write_text("[Service]\nExecStart=/gone/luludb serve\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(units.parent.parent))

    found = one(stopped, "service")

    assert "luludb-0123abcd.service" in found.found
    assert found.remedy == f"luludb service install --home {stopped}"


@pytest.fixture
def mute(stopped):
    """A home whose daemon listens and never answers."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(stopped / "run" / "command.sock"))
        listener.listen()
        endpoints = dict.fromkeys(("command", "changes"), f"ipc://{stopped}/run/command.sock")
        found = {"pid": os.getpid(), "boot_id": "b", "version": "0", "protocol": 1, **endpoints}
        (stopped / "run" / "daemon.json").write_text(json.dumps(found))
        yield stopped


def test_a_daemon_that_is_stuck_is_told_with_how_to_end_it(mute):
    found = one(mute, "daemon", timeout_s=0.2)

    assert "gave no answer" in found.found
    assert found.remedy == f"kill -9 {os.getpid()} && luludb start --home {mute}"


def test_a_doctor_that_waits_for_an_answer_ends_with_130_at_ctrl_c(mute):
    mine, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "luludb", "doctor", "--home", str(mute)],
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    with asking:
        shown = b""
        while b"asking the daemon" not in shown:
            assert select.select([mine], [], [], DEADLINE_S)[0]
            shown += os.read(mine, 4096)
        asking.send_signal(signal.SIGINT)
        # What it still writes to the terminal is read, or it could not end.
        rest: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(mine, rest))
        reader.start()
        code = asking.wait(DEADLINE_S)
        reader.join(DEADLINE_S)
    os.close(mine)

    assert code == 130
    assert b"Traceback" not in shown + b"".join(rest)


def _read_all(descriptor, chunks):
    with contextlib.suppress(OSError):  # the other end of a terminal is gone
        while chunk := os.read(descriptor, 4096):
            chunks.append(chunk)


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


# The database.


def test_a_damaged_page_is_told_with_how_to_restore(stopped):
    with (stopped / "lulu.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096 * 4))

    found = one(stopped, "integrity")

    assert found.remedy == f"luludb restore BACKUP --home {stopped}"


def test_a_file_that_is_no_database_is_told(stopped):
    for name in ("lulu.db-wal", "lulu.db-shm"):
        (stopped / name).unlink()
    (stopped / "lulu.db").write_bytes(b"no database at all" * 1000)

    assert "not a database" in one(stopped, "integrity").found


def test_a_database_of_a_newer_luludb_is_told(stopped):
    write(stopped, "PRAGMA user_version = 99")

    found = one(stopped, "database")

    assert "upgrade luludb" in found.found
    assert "lulu.db.other && luludb start" in found.remedy


def test_an_index_that_was_dropped_is_told_with_the_statement_that_makes_it(stopped):
    write(stopped, "DROP INDEX idx_messages_session_id")

    found = one(stopped, "indexes")
    (statement,) = [word for word in shlex.split(found.remedy) if word.startswith("CREATE")]
    write(stopped, statement)

    assert [each.check for each in findings(stopped)] == ["daemon"]


def test_a_trigger_is_told_with_the_statement_that_drops_it(daemon):
    write(
        daemon.home,
        "CREATE TABLE others (x)",
        'CREATE TRIGGER "it\'s" AFTER INSERT ON messages BEGIN INSERT INTO others VALUES (1); END',
    )

    found = one(daemon.home, "triggers", "warning")
    (statement,) = [word for word in shlex.split(found.remedy) if word.startswith("DROP")]
    write(daemon.home, statement)

    assert "others" in one(daemon.home, "tables", "note").found
    assert findings(daemon.home) == []


def test_messages_without_a_session_are_told_and_brought_back_by_the_remedy(daemon):
    write(daemon.home, "INSERT INTO messages VALUES ('m', 'lost one', 'user', 'x', '2026')")

    run(one(daemon.home, "orphans", "warning").remedy)

    assert findings(daemon.home) == []
    with Client(daemon.home) as client:
        assert [each.id for each in client.list_messages("lost one")] == ["m"]


def test_a_clock_that_was_set_back_is_told(stopped):
    write(stopped, "UPDATE lulu_changes SET at = '2999-01-01T00:00:00.000000+00:00'")

    assert one(stopped, "clock", "warning").remedy == "timedatectl set-ntp true"


# What keeps the writer waiting.


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_reader_that_keeps_the_log_long_is_named(stopped):
    (stopped / "luludb.toml").write_text('wal_bytes_max = "400 KiB"')
    (stopped / "luludb.toml").chmod(0o600)
    with running_daemon(stopped), foreign.reading(stopped) as pid, Client(stopped) as client:
        client.append_message("s", "user", "x" * 200_000)
        found = one(stopped, "log", "warning")

    assert found.remedy == f"kill {pid}"


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="platform: nothing lists the locks")
def test_a_program_that_holds_the_write_lock_is_named(daemon):
    with foreign.holding_the_write_lock(daemon.home) as pid:
        found = one(daemon.home, "write lock")

    assert found.remedy == f"kill {pid}"


def test_a_program_that_wrote_past_the_daemon_is_a_note(daemon):
    with Client(daemon.home) as client:
        with foreign.holding_the_write_lock(daemon.home):
            waiting = client.submit("session.update", id="s", name="two")
            deadline_s = time.monotonic() + DEADLINE_S
            while client.status()["foreign_writer_waits_total"] == 0:
                assert time.monotonic() < deadline_s
        waiting.result(DEADLINE_S)

    assert one(daemon.home, "other writers", "note").remedy is None
    assert findings(daemon.home) == []
