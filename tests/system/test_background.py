"""A daemon in the background: `luludb start`, `stop`, `restart`, and clients with start=True."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luludb.admin import background
from luludb.home import Home, locked, prepare_home, read_discovery
from luludb.platform import process_started
from luludb_client import Client, DaemonUnavailable
from scripts.load.journal import read_journal
from scripts.load.verify import verify
from tests import foreign
from tests.crash.outages import Observer, new_seed, write_while
from tests.serving import serving
from tests.system.command_line import luludb

DEADLINE_S = 30
SHORT = ("--timeout", "0.5")
AT_ONCE = 4
WRITERS = 8
RESTARTS = 2


@pytest.fixture
def home(tmp_path):
    """A home with a name that needs care, at whose end no daemon is left."""
    path = tmp_path / "a home ü %20"
    yield path
    discovery = read_discovery(Home(path))
    if discovery is not None and process_started(discovery.pid) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(discovery.pid, signal.SIGCONT)
        assert luludb(path, "stop", "--timeout", str(DEADLINE_S)).returncode == 0


def started(home, **options):
    """Start a daemon and return what the command printed as JSON."""
    result = luludb(home, "start", "--json", "--timeout", str(DEADLINE_S), **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ended(home, *args, **options):
    """Exit code, standard output and standard error of a command."""
    result = luludb(home, *args, **options)
    assert b"Traceback" not in result.stderr
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def log_of(home):
    return (home / "log" / "daemon.log").read_text(encoding="utf-8")


def wait_until(is_so):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_there(pid):
    """Whether there is such a process, or one that has ended and whose parent does not know."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid):
    return dict(
        part.split(b"=", 1)
        for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if part
    )


# Start.


def test_a_daemon_answers_when_start_returns_and_belongs_to_no_terminal(home):
    code, shown, said = ended(home, "start")

    pid = read_discovery(Home(home)).pid
    assert (code, said) == (0, "")
    assert shown == f"pid {pid} serves {home}; its log is {home / 'log' / 'daemon.log'}\n"
    with Client(home) as client:
        client.ping()
    assert os.getsid(pid) == pid
    if sys.platform == "linux":
        process = Path(f"/proc/{pid}")
        assert (process / "cwd").readlink() == Path("/")
        opened = [(process / "fd" / number).readlink() for number in "012"]
        assert opened == [Path("/dev/null"), *[home / "log" / "daemon.log"] * 2]


def test_start_beside_a_daemon_says_so_and_starts_none(home):
    pid = started(home)["pid"]

    code, shown, _ = ended(home, "start")
    again = started(home)

    assert (code, shown) == (0, f"pid {pid} serves {home} already\n")
    assert (again["pid"], again["was_running"]) == (pid, True)
    assert log_of(home).count('"event": "serving"') == 1


def test_of_several_starts_at_once_one_daemon_comes_and_each_succeeds(home):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda _: started(home), range(AT_ONCE)))

    assert len({each["boot_id"] for each in found}) == 1
    assert sorted(each["was_running"] for each in found) == [False, *[True] * (AT_ONCE - 1)]
    assert log_of(home).count('"event": "serving"') == 1


def test_start_waits_for_a_daemon_that_another_one_is_starting(home):
    prepare_home(Home(home))
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    lock = home / "lulu.lock"
    with ThreadPoolExecutor(2) as pool:
        with foreign.holding_the_write_lock(home):  # for which a daemon that starts waits
            first = pool.submit(started, home)
            wait_until(lambda: lock.exists() and lock.read_text().strip())
            second = pool.submit(started, home)
            wait_until(lambda: "home_locked" in log_of(home))
            told = [line for line in log_of(home).splitlines() if "home_locked" in line]
            refused = json.loads(told[0])["pid"]
            wait_until(lambda: not is_there(refused))  # the second one has seen that it ended
        found = [first.result(), second.result()]

    assert [each["was_running"] for each in found] == [False, True]
    assert len({each["pid"] for each in found}) == 1


def test_start_over_what_a_killed_daemon_left_behind(home):
    killed = started(home)["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: process_started(killed) is None)

    assert started(home)["was_running"] is False
    assert f"of pid {killed} was still here" in log_of(home)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        pytest.param(
            lambda home: (home / "luludb.toml").write_text("durability = 'some'"),
            "durability in ",
            id="a-setting",
        ),
        pytest.param(
            lambda home: (home / "lulu.db").write_text("no database " * 100),
            "is not a database that luludb can use",
            id="the-database",
        ),
        pytest.param(
            lambda home: (home / "log" / "daemon.log").mkdir(parents=True),
            "cannot be written",
            id="the-log",
        ),
    ],
)
def test_where_the_daemon_refuses_to_start_its_reason_is_shown(home, prepare, reason):
    home.mkdir(mode=0o700)
    prepare(home)
    for path in home.iterdir():
        path.chmod(path.stat().st_mode & 0o700)

    code, shown, said = ended(home, "start")

    assert (code, shown) == (1, "")
    assert reason in said
    assert said.count("\n") == 1


def test_start_is_refused_at_once_while_a_restore_has_the_home(home):
    prepare_home(Home(home))
    with locked(Home(home), holder="restore"):
        code, _, said = ended(home, "start", "--timeout", str(DEADLINE_S))

    assert code == 1
    assert f"pid {os.getpid()}" in said
    assert "luludb restore needs this home for itself" in said


def test_what_a_service_manager_told_its_service_does_not_reach_the_daemon(home):
    pid = started(home, env={"NOTIFY_SOCKET": "@none", "LISTEN_FDS": "2", "MINE": "1"})["pid"]

    assert {b"NOTIFY_SOCKET", b"LISTEN_FDS", b"MINE"} & set(environment_of(pid)) == {b"MINE"}


def test_start_that_is_interrupted_takes_its_daemon_along(home):
    prepare_home(Home(home))
    with contextlib.closing(sqlite3.connect(home / "lulu.db")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    lock = home / "lulu.lock"
    with foreign.holding_the_write_lock(home):
        command = [sys.executable, "-m", "luludb", "start", "--home", str(home)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            wait_until(lambda: lock.exists() and lock.read_text().strip())
            pid = int(lock.read_text())
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 130
        assert process_started(pid) is None


# Stop.


def test_the_daemon_is_gone_when_stop_returns(home):
    pid = started(home)["pid"]

    code, shown, said = ended(home, "stop")

    assert (code, shown, said) == (0, f"stopped pid {pid}, which served {home}\n", "")
    assert process_started(pid) is None
    assert os.listdir(home / "run") == []
    with locked(Home(home)):
        pass


def test_stop_waits_for_the_end_of_the_process_and_not_of_the_answers_alone(home):
    pid = started(home)["pid"]

    # In this process, since another one's end would take as long as the daemon's.
    assert background.stop(Home(home), timeout_s=DEADLINE_S) == pid

    assert process_started(pid) is None


def test_stop_without_a_daemon_says_so_and_ends_with_0(home):
    assert ended(home, "stop") == (0, f"no daemon serves {home}\n", "")
    assert json.loads(ended(home, "stop", "--json")[1]) == {
        "home": str(home),
        "stopped": False,
        "pid": None,
    }
    assert not home.exists()


def test_stop_ends_a_daemon_in_the_foreground_too(fresh_home):
    with serving(fresh_home) as server:
        stopping = threading.Thread(target=server.wait_for_exit)
        stopping.start()  # it is our child, and only we can take note of its end

        assert ended(fresh_home, "stop")[0] == 0
        stopping.join(DEADLINE_S)
        assert server.process.returncode == 0


def test_stop_leaves_a_process_alone_that_has_the_pid_of_a_killed_daemon(home):
    killed = started(home)["pid"]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: process_started(killed) is None)
    found = json.loads((home / "run" / "daemon.json").read_text())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        left = {**found, "pid": other.pid}
        (home / "run" / "daemon.json").write_text(json.dumps(left))

        code, shown, _ = ended(home, "stop")

        assert (code, shown) == (0, f"no daemon serves {home}\n")
        assert other.poll() is None
        other.communicate(b"\n", DEADLINE_S)
        assert other.returncode == 0


def test_a_daemon_that_does_not_answer_is_left_alone_and_what_to_do_is_said(home):
    pid = started(home)["pid"]
    os.kill(pid, signal.SIGSTOP)

    for command in ("stop", "start", "restart"):
        code, shown, said = ended(home, command, *SHORT)
        assert (code, shown) == (3, "")
        assert f"kill -9 {pid}" in said

    os.kill(pid, signal.SIGCONT)
    with Client(home) as client:
        client.ping()


# Restart.


def test_restart_gives_another_daemon_whether_one_ran_or_not(home):
    first = json.loads(ended(home, "restart", "--json")[1])
    second = json.loads(ended(home, "restart", "--json")[1])

    assert (first["stopped_pid"], second["stopped_pid"]) == (None, first["pid"])
    assert first["boot_id"] != second["boot_id"]
    assert [first["was_running"], second["was_running"]] == [False, False]


def test_a_restart_under_writers_costs_them_nothing_but_time(home, tmp_path):
    seed = new_seed()
    print(f"seed {seed}")
    started(home)
    stalls_ms = []

    with Observer(home, tmp_path / "observer") as observer:

        def is_going_on():
            began_s = time.monotonic()
            code, _, said = ended(home, "restart", "--timeout", str(DEADLINE_S))
            assert code == 0, said
            answered_s = observer.wait_for_acknowledgement(began_s)
            stalls_ms.append(round((answered_s - began_s) * 1000))
            return len(stalls_ms) < RESTARTS

        journals = write_while(home, is_going_on, seed=seed, round_s=3.0, processes=WRITERS)
    assert ended(home, "stop")[0] == 0
    verdict = verify(home / "lulu.db", [*journals, read_journal(tmp_path / "observer")])

    print(f"first new acknowledgement after {stalls_ms} ms; {verdict}")
    assert len(stalls_ms) >= RESTARTS
    assert verdict.is_good, verdict


# Clients made with start=True.


def test_a_client_made_with_start_has_its_first_write_start_a_daemon(home, make_client):
    with make_client(home, start=True, timeout_s=DEADLINE_S) as client:
        with pytest.raises(DaemonUnavailable):
            client.ping()
        assert not home.exists()

        session = client.create_session("a", "/")

        client.append_message(session.id, "user", "hi")
        pid = client.status()["pid"]
    assert os.getsid(pid) == pid  # it goes on without us
    with make_client(home, start=True) as client:
        assert client.submit("session.delete", id=session.id).result(DEADLINE_S)["rev"] == 3
        assert client.status()["pid"] == pid


WRITE_ONE = """
import sys
from luludb_client import Client

with Client(sys.argv[1], start=True, timeout_s=30) as client:
    client.create_session("a", "/")
    print(client.status()["boot_id"])
"""


def test_of_several_clients_that_start_one_at_once_all_write_to_one_daemon(home, make_client):
    command = [sys.executable, "-c", WRITE_ONE, str(home)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with (
        make_client(home, start=True, timeout_s=DEADLINE_S) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        made = [pool.submit(client.create_session, "a", "/") for _ in range(2)]
        boot_ids = {process.communicate(timeout=DEADLINE_S)[0].strip() for process in processes}

        assert all(each.result(DEADLINE_S) for each in made)
        assert boot_ids == {client.status()["boot_id"]}
        assert len(client.list_sessions()) == 4
    assert log_of(home).count('"event": "serving"') == 1


def test_a_daemon_that_does_not_start_is_an_error_with_its_reason(home, make_client):
    home.mkdir()
    (home / "luludb.toml").write_text("color = 1")

    with make_client(home, start=True) as client:
        for _ in range(2):
            with pytest.raises(DaemonUnavailable, match=r"luludb.toml has color.*luludb start"):
                client.create_session("a", "/")


def test_no_call_waits_longer_for_a_start_than_its_timeout(home, make_client):
    pid = started(home)["pid"]
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()

    with (
        make_client(home, start=True, timeout_s=0.5) as client,
        pytest.raises(DaemonUnavailable, match=f"pid {pid}"),
    ):
        client.create_session("a", "/")

    assert 0.5 <= time.monotonic() - began_s < DEADLINE_S / 2


# The log.


def test_the_log_is_lines_of_json_that_only_its_owner_reads(home):
    old_umask = os.umask(0)
    try:
        pid = started(home)["pid"]
    finally:
        os.umask(old_umask)
    assert ended(home, "stop")[0] == 0

    lines = [json.loads(line) for line in log_of(home).splitlines()]
    assert [line["message"].split()[0] for line in lines] == ["luludb", "stopping:", "stopped"]
    assert {(line["pid"], line["level"]) for line in lines} == {(pid, "info")}
    assert (home / "log").stat().st_mode & 0o777 == 0o700
    assert (home / "log" / "daemon.log").stat().st_mode & 0o777 == 0o600


def test_no_content_is_in_the_log_at_any_level(home):
    secret = "xyzzy-4711"
    started(home, env={"LULUDB_LOG_LEVEL": "debug"})
    with Client(home) as client:
        session = client.create_session(secret, f"/{secret}", id=secret)
        client.append_message(session.id, "user", secret)
        with client.transaction() as batch:
            batch.append_message(session.id, secret, secret)
        refused = [
            ("session.create", {"id": secret, "name": secret, "working_dir": "/"}),
            ("message.append", {"session_id": "x" + secret, "role": "r", "content": secret}),
            ("message.append", {"session_id": secret, "role": secret * 9, "content": secret}),
            (secret, {}),
            ("message.delete", {"id": secret, secret: secret}),
        ]
        for op, args in refused:
            assert client.submit(op, **args).exception(DEADLINE_S) is not None
    assert ended(home, "stop")[0] == 0

    found = log_of(home)
    for code in ("already_exists", "not_found", "invalid", "unknown_op"):
        assert f"refused as {code}" in found
    assert secret not in found
