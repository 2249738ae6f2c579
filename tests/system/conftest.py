"""Fixtures of the tests that speak to a real daemon with raw sockets."""

import contextlib
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from luludb_client import feed
from luludb_client.replica import Replica
from tests.clients import KINDS
from tests.peer import connected, listening
from tests.serving import serving


@pytest.fixture(scope="module")
def short_directory():
    """A directory whose path leaves room for a socket's, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="lulu"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def daemon(short_directory):
    """One daemon for all tests of a module, which use clients and sessions of their own."""
    with serving(short_directory / "shared") as server:
        yield server


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(request):
    """What makes a client of each kind, with the arguments of `Client` and its methods.

    Where the loop itself matters a test asks for `uvloop` too. One that takes its time and shows
    what both have from the same module, such as `Core` or `Feed`, asks for `blocking` alone.
    """
    return KINDS[request.param]


@pytest.fixture
def fresh_home():
    """A home of this test's own, not made yet."""
    path = Path(tempfile.mkdtemp(prefix="lulu"))
    yield path / "home"
    shutil.rmtree(path)


@pytest.fixture
def connect():
    """`connect(home, client_id=None, kind=…, hello=True)` gives a peer, closed with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(connected(*args, **kwargs))


@pytest.fixture
def listen():
    """`listen(home, topic)` gives a SUB, closed with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(listening(*args, **kwargs))


@pytest.fixture
def peer(daemon, connect):
    """A peer of the module's daemon that said hello."""
    return connect(daemon.home)


def read_rows(home, sql, *parameters):
    """Rows of `lulu.db`, over a read-only connection of its own."""
    uri = f"file:{quote(str(home / 'lulu.db'))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(sql, parameters).fetchall()


@pytest.fixture
def rows():
    """`rows(home, sql, *parameters)` reads `lulu.db` from outside."""
    return read_rows


@pytest.fixture
def looks(monkeypatch):
    """When each look into the file was made, in this process."""
    made = []
    look = Replica.look

    def noted(self, rev, session_id):
        made.append(time.monotonic())
        return look(self, rev, session_id)

    monkeypatch.setattr(Replica, "look", noted)
    return made


@pytest.fixture
def notices_alone(monkeypatch):
    """Without a notice, a connection or a bell nobody looks again in a test's time."""
    monkeypatch.setattr(feed, "WATCH_LOOK_S", 3600.0)
