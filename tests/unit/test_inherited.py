"""Which sockets that systemd hands over the daemon takes."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from luludb.daemon import inherited
from luludb.daemon.inherited import inherited_sockets, refuse_held_sockets
from luludb.errors import StartRefused
from luludb.home import Home
from luludb.platform import is_held_socket

# Fills the descriptors that systemd would, in a process in which nothing else has them.
PROGRAM = """
import os, socket, sys
sys.path[:0] = sys.argv[2:]
names, listens = eval(sys.argv[1])
made = []
for name in names:
    if name.startswith("/"):
        each = socket.socket(socket.AF_UNIX)
        each.bind(name)
    else:
        each = socket.socket(socket.AF_INET)
        each.bind(("127.0.0.1", 0))
    if listens:
        each.listen()
    made.append(os.dup2(each.detach(), 100 + len(made)))
for number, descriptor in enumerate(made):
    os.dup2(descriptor, 3 + number)
from luludb.daemon.inherited import inherited_sockets
from luludb.errors import StartRefused
env = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(made))}
try:
    found = inherited_sockets(env)
except StartRefused as error:
    print("refused:", error.message)
else:
    print(found.directory, found.command, found.changes, os.get_inheritable(found.command))
"""


def handed_over(names, *, listens=True):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, repr((names, listens)), *sys.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="lulu") as name:
        yield Path(name)


def test_both_are_known_by_their_paths_in_any_order(directory):
    command, changes = str(directory / "command.sock"), str(directory / "changes.sock")

    assert handed_over([command, changes]) == f"{directory} 3 4 False"
    for path in directory.iterdir():
        path.unlink()
    assert handed_over([changes, command]) == f"{directory} 4 3 False"


@pytest.mark.parametrize(
    ("names", "listens"),
    [
        pytest.param(["command.sock"], True, id="one"),
        pytest.param(["command.sock", "other.sock"], True, id="a-wrong-name"),
        pytest.param(["command.sock", "changes.sock", "third.sock"], True, id="three"),
        pytest.param(["command.sock", "changes.sock"], False, id="not-listening"),
        pytest.param(["internet", "command.sock"], True, id="not-a-unix-socket"),
    ],
)
def test_other_sockets_are_refused_with_what_to_do(directory, names, listens):
    paths = [name if name == "internet" else str(directory / name) for name in names]

    told = handed_over(paths, listens=listens)

    assert told.startswith("refused: systemd handed over ")
    assert told.endswith("luludb service install --socket")


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="none"),
        pytest.param({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, id="of-another-process"),
        pytest.param({"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}, id="zero"),
    ],
)
def test_without_them_the_daemon_binds_its_own(env):
    assert inherited_sockets(env) is None


# Sockets of the home that are another's, where none were handed over.


@pytest.fixture
def home(directory):
    home = Home(directory)
    home.run.mkdir()
    return home


def bound(path, kind=socket.SOCK_STREAM):
    holder = socket.socket(socket.AF_UNIX, kind)
    holder.bind(str(path))
    return holder


@pytest.mark.parametrize("name", ["command.sock", "changes.sock"])
def test_sockets_that_another_process_holds_are_left_to_it_and_it_is_not_woken(
    home, monkeypatch, name
):
    monkeypatch.setattr(inherited, "SOCKET_LET_GO_S_MAX", 0.02)
    with bound(home.run / name) as holder:
        holder.listen()
        holder.setblocking(False)

        with pytest.raises(StartRefused, match=f"{name} is held .* luludb service stop --home"):
            refuse_held_sockets(home)

        with pytest.raises(BlockingIOError):
            holder.accept()


def test_what_a_daemon_that_is_gone_left_behind_is_in_nobodys_way(home):
    bound(home.run / "command.sock").close()
    (home.run / "changes.sock").touch()

    refuse_held_sockets(home)


def test_a_daemon_that_was_killed_has_a_moment_to_be_rid_of_its_sockets(home, monkeypatch):
    with bound(home.run / "command.sock") as holder:
        monkeypatch.setattr(time, "sleep", lambda _: holder.close())

        refuse_held_sockets(home)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_is_held_as_long_as_it_is_open_whatever_its_type(directory, kind):
    path = directory / "any"
    assert not is_held_socket(path)
    with bound(path, kind):
        assert is_held_socket(path)

    assert not is_held_socket(path)
