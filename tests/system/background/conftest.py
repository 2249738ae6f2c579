"""The home of a daemon in the background."""

import contextlib
import os
import signal

import pytest

from luludb.home import Home, read_discovery
from luludb.platform import process_started
from tests.system.background.daemons import DEADLINE_S
from tests.system.command_line import luludb


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
