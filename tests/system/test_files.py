"""The home: places, modes, paths of every kind, and settings."""

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.databases import TODAYS_SCHEMA
from tests.foreign import foreign
from tests.peer import discovery
from tests.serving import refused_start, serving


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Places.


def test_everything_is_where_it_is_promised(fresh_home, connect):
    with serving(fresh_home) as server:
        connect(fresh_home).create_session()

        assert {path.name for path in fresh_home.iterdir()} == {
            *("lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock", "run", "log"),
        }
        assert {path.name for path in (fresh_home / "run").iterdir()} == {
            *("daemon.json", "command.sock", "changes.sock"),
        }
        assert (fresh_home / "lulu.lock").read_text().strip() == str(server.pid)


def test_the_discovery_file_says_who_serves_and_where(daemon):
    found = discovery(daemon.home)

    assert list(found) == ["pid", "boot_id", "version", "protocol", "command", "changes"]
    assert (found["pid"], found["protocol"]) == (daemon.pid, 1)
    assert found["command"] == f"ipc://{daemon.home}/run/command.sock"
    assert found["changes"] == f"ipc://{daemon.home}/run/changes.sock"


def test_each_start_has_a_boot_id_of_its_own_and_the_database_keeps_its_id(fresh_home, connect):
    seen = []
    for _ in range(2):
        with serving(fresh_home):
            hello = connect(fresh_home).hello()
            assert hello["boot_id"] == discovery(fresh_home)["boot_id"]
            seen.append((hello["boot_id"], hello["database_id"]))

    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


# Modes.


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_directories_are_0700_and_files_0600_whatever_the_umask(fresh_home, connect, umask):
    with serving(fresh_home, umask=umask):
        connect(fresh_home).create_session()

        modes = {
            str(path.relative_to(fresh_home)): mode(path)
            for path in fresh_home.rglob("*")
            if not path.is_socket()
        }
        sockets = [path for path in fresh_home.rglob("*") if path.is_socket()]

    assert mode(fresh_home) == 0o700
    assert modes == {
        "lulu.db": 0o600,
        "lulu.db-wal": 0o600,
        "lulu.db-shm": 0o600,
        "lulu.lock": 0o600,
        "run": 0o700,
        "run/daemon.json": 0o600,
        "log": 0o700,
    }
    assert len(sockets) == 2


def test_a_home_that_is_too_open_is_tightened_with_a_message(fresh_home):
    foreign(fresh_home, TODAYS_SCHEMA)
    (fresh_home / "run").mkdir()
    for path, found in ((fresh_home, 0o755), (fresh_home / "run", 0o777)):
        path.chmod(found)
    (fresh_home / "lulu.db").chmod(0o644)

    with serving(fresh_home) as server:
        assert (mode(fresh_home), mode(fresh_home / "run")) == (0o700, 0o700)
        for name in ("lulu.db", "lulu.db-wal", "lulu.db-shm"):
            assert mode(fresh_home / name) == 0o600

    for path in (fresh_home, fresh_home / "run", fresh_home / "lulu.db"):
        assert f"{path} was open to others" in server.log


def test_a_private_home_is_not_spoken_of(daemon):
    assert "open to others" not in daemon.log


@pytest.mark.skipif(os.getuid() != 0, reason="privilege: only root can give a directory away")
def test_a_home_of_another_user_is_refused(fresh_home):
    fresh_home.mkdir()
    os.chown(fresh_home, 12345, -1)

    code, log = refused_start(fresh_home)

    assert code == 1
    assert str(fresh_home) in log
    assert "12345" in log
    assert list(fresh_home.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="privilege: only root can give a file away")
def test_a_database_of_another_user_is_refused(fresh_home):
    foreign(fresh_home, TODAYS_SCHEMA)
    os.chown(fresh_home / "lulu.db", 12345, -1)

    code, log = refused_start(fresh_home)

    assert code == 1
    assert "12345" in log


def test_a_file_in_the_place_of_the_home_is_refused(fresh_home):
    fresh_home.write_text("not a directory")

    code, log = refused_start(fresh_home)

    assert code in (1, 2)  # a wrong --home is wrong usage
    assert str(fresh_home) in log
    assert "Traceback" not in log


# Paths.


@pytest.mark.parametrize(
    "name",
    ["with space", "100%25", "what?mode=ro", "a#b", "ünï-日本-🦊", "a&b=c;d", "'quoted\"", "-dash"],
)
def test_any_path_works(fresh_home, connect, rows, name):
    home = fresh_home / name

    with serving(home):
        peer = connect(home)
        session_id = peer.create_session()

        assert rows(home, "SELECT id FROM sessions") == [(session_id,)]
        assert (home / "lulu.db").is_file()
        assert peer.status()["home"] == str(home)


def test_the_sockets_of_a_long_path_are_elsewhere(fresh_home, connect, listen):
    home = fresh_home / ("long" * 30) / ("path" * 30)

    with serving(home) as server:
        found = discovery(home)
        sockets = [Path(found[key].removeprefix("ipc://")) for key in ("command", "changes")]
        directory = sockets[0].parent
        peer = connect(home)
        assert peer.create_session()
        listen(home)
        assert not any(path.is_socket() for path in (home / "run").iterdir())
        assert all(path.is_socket() for path in sockets)
        assert mode(directory) == 0o700
        assert all(len(os.fsencode(path)) <= 107 for path in sockets)
        assert server.signal(15) == 0

    assert not directory.exists()


@pytest.mark.parametrize("path_bytes", [107, 108])
def test_the_longest_path_of_a_socket_is_used_and_one_more_is_not(fresh_home, connect, path_bytes):
    rest = path_bytes - len(os.fsencode(fresh_home / "x" / "run" / "command.sock")) + 1
    home = fresh_home / ("x" * rest)

    with serving(home) as server:
        connect(home).create_session()

        assert (home / "run" / "command.sock").is_socket() is (path_bytes == 107)
        assert server.signal(15) == 0


def test_a_long_temporary_directory_is_no_place_for_sockets(fresh_home, connect):
    home, temporary = fresh_home / ("long" * 30), fresh_home / ("temporary" * 12)
    temporary.mkdir(parents=True)

    with serving(home, env={"TMPDIR": str(temporary)}) as server:
        assert connect(home).create_session()
        assert server.signal(15) == 0


def test_what_a_killed_daemon_left_elsewhere_is_taken_away_by_the_next(fresh_home, connect):
    home = fresh_home / ("long" * 30)
    with serving(home) as server:
        left = Path(discovery(home)["command"].removeprefix("ipc://")).parent
        server.signal(9)
    assert left.is_dir()

    with serving(home) as server:
        assert connect(home).create_session()
        assert not left.exists()
        assert server.signal(15) == 0


def test_a_link_in_the_place_of_the_database_is_refused(fresh_home):
    foreign(fresh_home / "elsewhere", TODAYS_SCHEMA)
    (fresh_home / "lulu.db").symlink_to(fresh_home / "elsewhere" / "lulu.db")

    code, log = refused_start(fresh_home)

    assert code == 1
    assert "symbolic link" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("name", ["lulu.db", "lulu.db-wal"])
def test_nothing_is_acknowledged_once_a_file_was_removed(fresh_home, connect, name):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        create = {"name": "n", "working_dir": "/w"}
        assert peer.exchange("session.create", {"id": "s", **create}, seq=1).status == 0

        (fresh_home / name).unlink()
        peer.send("session.create", {"id": "t", **create}, seq=2)

        assert server.wait_for_exit() == 4
        assert name in server.log
        peer.socket.rcvtimeo = 0
        with pytest.raises(zmq.Again):
            peer.receive()


# Settings.


def test_flags_beat_the_environment_and_that_the_file(fresh_home, connect):
    fresh_home.mkdir()
    (fresh_home / "luludb.toml").write_text('durability = "full"\n')

    with serving(fresh_home):
        assert connect(fresh_home).hello()["durability"] == "full"
    with serving(fresh_home, env={"LULUDB_DURABILITY": "normal"}):
        assert connect(fresh_home).hello()["durability"] == "normal"
    with serving(fresh_home, "--durability", "full", env={"LULUDB_DURABILITY": "normal"}):
        peer = connect(fresh_home)
        assert peer.hello()["durability"] == "full"
        body = peer.done("session.create", {"name": "n", "working_dir": "/w"})
        assert body["durability"] == "full"


@pytest.mark.parametrize(
    "text", ["durability = 'most'", "changes_kept_max = 0", "colour = 1", "durability ="]
)
def test_a_setting_that_is_not_allowed_is_refused(fresh_home, text):
    fresh_home.mkdir()
    (fresh_home / "luludb.toml").write_text(text)

    code, log = refused_start(fresh_home)

    assert code == 1
    assert "luludb.toml" in log
    assert "Traceback" not in log


def test_the_home_comes_from_the_flag_then_the_environment(fresh_home):
    env = {"LULUDB_HOME": str(fresh_home / "elsewhere")}

    with serving(fresh_home / "flag", env=env):
        assert json.loads((fresh_home / "flag" / "run" / "daemon.json").read_text())

    assert not (fresh_home / "elsewhere").exists()


def test_a_stranger_cannot_reach_the_sockets(daemon):
    if os.getuid() != 0:
        pytest.skip("privilege: only root can become a stranger")
    path = discovery(daemon.home)["command"].removeprefix("ipc://")
    program = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except PermissionError: print('refused')\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=False
    )
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(path)

    assert done.stdout == "refused\n"
