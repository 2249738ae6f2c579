"""The fixture `luludb_daemon` for pytest, found by its entry point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from luludb_client.testing import Daemon


@pytest.fixture
def luludb_daemon() -> Iterator[Daemon]:
    """A running daemon on a home of its own, with `home`, `pid`, `kill()`, `stop()`, `start()`."""
    # Imported here, as pytest loads this module in every run of everyone who has luludb.
    from luludb_client.testing import running_daemon

    with running_daemon() as daemon:
        yield daemon
