"""A daemon, a backup of its database, and its home after a stop."""

import pytest

from luludb_client import Client
from luludb_client.testing import running_daemon
from tests.system.command_line import luludb


@pytest.fixture
def daemon(tmp_path):
    """A daemon on a home with the session `s` and one message."""
    with running_daemon(tmp_path / "home") as daemon:
        with Client(daemon.home) as client:
            client.create_session("n", "/w", id="s")
            client.append_message("s", "user", "first", id="m1")
        yield daemon


@pytest.fixture
def backup(daemon, tmp_path):
    """A backup with one message; the database has two then."""
    file = tmp_path / "backup.db"
    assert luludb(daemon.home, "backup", str(file)).returncode == 0
    with Client(daemon.home) as client:
        client.append_message("s", "user", "second", id="m2")
    return file


@pytest.fixture
def home(daemon, backup):
    """The home of a daemon that was stopped after the backup and one message more."""
    daemon.stop()
    return daemon.home
