"""The home directory: its places, its lock, its modes and the discovery file."""

import json
import multiprocessing
import os
import socket
import stat
from pathlib import Path

import platformdirs
import pytest

from luludb.errors import LuludbError, StartRefused
from luludb.home import (
    Discovery,
    Home,
    find_home,
    locked,
    prepare_home,
    read_discovery,
    refuse_closed,
    remove_discovery,
    socket_directory,
    write_discovery,
)
from luludb.platform import SOCKET_PATH_BYTES_MAX

DISCOVERY = Discovery(
    7, "b" * 32, "0.1.0", 1, "ipc:///h/run/command.sock", "ipc:///h/run/é ?#.sock"
)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Where it is.


def test_find_home_takes_the_argument_then_the_environment_then_the_users_directory(tmp_path):
    env = {"LULUDB_HOME": str(tmp_path / "env")}

    assert find_home(tmp_path / "arg", env).path == tmp_path / "arg"
    assert find_home(None, env).path == tmp_path / "env"
    assert find_home(None, {}).path == Path(platformdirs.user_data_dir("luludb"))
    assert find_home(None, {"LULUDB_HOME": ""}).path == find_home(None, {}).path


def test_find_home_is_absolute_and_knows_the_tilde(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))

    assert find_home("relative/../here", {}).path == tmp_path / "here"
    assert find_home("~/data", {}).path == tmp_path / "me" / "data"


def test_the_places_are_those_that_are_promised(home):
    places = (
        *(home.database, home.wal, home.shared_memory, home.lock),
        *(home.run, home.discovery, home.log, home.settings),
    )
    assert [str(place.relative_to(home.path)) for place in places] == [
        *("lulu.db", "lulu.db-wal", "lulu.db-shm", "lulu.lock"),
        *("run", "run/daemon.json", "log", "luludb.toml"),
    ]


# Modes.


def test_prepare_home_makes_private_directories_and_says_nothing(home):
    assert prepare_home(home) == []
    assert [mode(path) for path in (home.path, home.run, home.log)] == [0o700] * 3
    assert prepare_home(home) == []


def test_prepare_home_closes_what_is_open_and_says_so(home):
    prepare_home(home)
    home.path.chmod(0o755)
    home.log.chmod(0o770)
    for file in (home.database, home.wal, home.shared_memory, home.lock, home.settings):
        file.touch()
        file.chmod(0o644)

    messages = prepare_home(home)

    assert len(messages) == 7
    assert str(home.path) in messages[0]
    assert "0755" in messages[0]
    assert [mode(path) for path in (home.path, home.log)] == [0o700] * 2
    assert {mode(home.database), mode(home.wal), mode(home.lock)} == {0o600}


def test_prepare_home_opens_nothing_that_is_closed(home):
    prepare_home(home)
    home.database.touch()
    home.database.chmod(0o400)

    prepare_home(home)

    assert mode(home.database) == 0o400


def test_prepare_home_refuses_a_file_in_its_place(home):
    home.path.write_text("")

    with pytest.raises(StartRefused, match="cannot be used"):
        prepare_home(home)


# The lock.


def holding(path, conversation):
    with locked(Home(path)):
        conversation.send(os.getpid())
        conversation.recv()


def test_a_lock_that_is_held_is_refused_naming_the_holder(home):
    prepare_home(home)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=holding, args=(home.path, there))
    process.start()
    pid = here.recv()

    with pytest.raises(StartRefused, match=f"pid {pid} .*luludb stop --home"), locked(home):
        pass

    here.send("enough")
    process.join()
    with locked(home):
        assert home.lock.read_text() == f"{os.getpid()}\n"
    here.close()
    there.close()
    process.close()


def test_the_lock_goes_with_the_death_of_its_holder(home):
    prepare_home(home)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=holding, args=(home.path, there))
    process.start()
    here.recv()

    process.kill()
    process.join()

    with locked(home):
        pass
    here.close()
    there.close()
    process.close()


def test_the_lock_file_stays_is_private_and_has_one_pid(home):
    prepare_home(home)
    home.lock.write_text("12345678901234\n" * 3)
    home.lock.chmod(0o600)
    inode = home.lock.stat().st_ino

    with locked(home):
        assert home.lock.read_text() == f"{os.getpid()}\n"

    assert home.lock.stat().st_ino == inode
    assert mode(home.lock) == 0o600


# The sockets' directory.


def test_the_sockets_are_in_run_where_their_path_is_short_enough(home):
    with socket_directory(home) as directory:
        assert directory == home.run


def test_the_sockets_of_a_long_path_are_in_a_temporary_directory(tmp_path):
    home = Home(tmp_path / ("x" * 120))

    with socket_directory(home) as directory:
        assert mode(directory) == 0o700
        path = directory / "command.sock"
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))

    assert not directory.exists()


def test_the_length_is_counted_in_bytes(tmp_path):
    characters = SOCKET_PATH_BYTES_MAX - len(str(tmp_path / "x" / "run" / "command.sock"))
    home = Home(tmp_path / ("é" * max(characters, 30)))

    with socket_directory(home) as directory:
        assert directory != home.run


def test_a_long_tmpdir_is_not_used(tmp_path, monkeypatch):
    temporary = tmp_path / ("t" * 100)
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    with socket_directory(Home(tmp_path / ("x" * 120))) as directory:
        assert len(os.fsencode(directory / "command.sock")) <= SOCKET_PATH_BYTES_MAX
        assert list(temporary.iterdir()) == []


# The discovery file.


def test_a_discovery_is_read_as_it_was_written(home):
    prepare_home(home)

    write_discovery(home, DISCOVERY)

    assert read_discovery(home) == DISCOVERY
    assert list(json.loads(home.discovery.read_text("utf-8"))) == [
        *("pid", "boot_id", "version", "protocol", "command", "changes"),
    ]
    assert [path.name for path in home.run.iterdir()] == ["daemon.json"]


def test_remove_discovery_may_come_twice(home):
    prepare_home(home)
    write_discovery(home, DISCOVERY)

    remove_discovery(home)
    remove_discovery(home)

    assert read_discovery(home) is None
    assert list(home.run.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"pid": "x", "boot_id": "", "version": "", "protocol": 1}',
        b'{"pid": null, "boot_id": "", "version": "", "protocol": 1}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"pid": 1e999, "boot_id": "", "version": "", "protocol": 1}',
        b'{"pid": ' + b"9" * 70_000 + b"}",
    ],
)
def test_a_discovery_that_is_not_readable_is_none(home, text):
    prepare_home(home)
    home.discovery.write_bytes(text)

    assert read_discovery(home) is None


def test_a_discovery_of_a_later_version_is_read(home):
    prepare_home(home)
    write_discovery(home, DISCOVERY)
    later = {**json.loads(home.discovery.read_text("utf-8")), "more": [1]}
    home.discovery.write_text(json.dumps(later))

    assert read_discovery(home) == DISCOVERY


def test_a_home_that_is_not_there_is_not_closed(tmp_path):
    refuse_closed(Home(tmp_path / "none"))


def test_a_home_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "lulu.db"
    file.touch()

    with pytest.raises(LuludbError, match="is no directory"):
        refuse_closed(Home(file))
    with pytest.raises(LuludbError, match="cannot be looked at: Not a directory"):
        refuse_closed(Home(file / "home"))


def test_a_home_that_this_user_may_not_enter_is_refused(tmp_path, monkeypatch):
    # Root may enter all of them, so the system's answer is given here.
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.F_OK)

    with pytest.raises(LuludbError, match=f"belongs to user {os.getuid()} and is closed to user"):
        refuse_closed(Home(tmp_path))
