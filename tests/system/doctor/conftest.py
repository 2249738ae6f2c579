"""Homes for the doctor to look at."""

import shutil
import tempfile
from pathlib import Path

import pytest

from luludb.platform import file_system_of
from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.conftest import ROOT

IN_MEMORY = ("tmpfs", "ramfs")


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
