"""An honest client that goes on beside all bad input."""

import threading

import pytest

from tests.peer import connected, discovery
from tests.system.conftest import read_rows


class HonestClient:
    """Appends without a pause, on a connection of its own, and notes whatever goes wrong."""

    def __init__(self, home) -> None:
        self.home = home
        self.session_id = None
        self.appended = 0
        self.error = None
        self.stopping = False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with connected(self.home) as peer:
                self.session_id = peer.create_session()
                while not self.stopping:
                    peer.append(self.session_id, str(self.appended))
                    with self._progress:
                        self.appended += 1
                        self._progress.notify_all()
        except Exception as error:  # noqa: BLE001  # told to the thread that waits
            with self._progress:
                self.error = error
                self._progress.notify_all()

    def goes_on(self) -> bool:
        """Wait until two more of its commands were answered."""
        with self._progress:
            wanted = self.appended + 2
            self._progress.wait_for(lambda: self.error or self.appended >= wanted, 20)
            assert self.error is None, self.error
            return self.appended >= wanted

    def close(self) -> None:
        self.stopping = True
        self._thread.join()


@pytest.fixture(scope="module")
def honest(daemon):
    """The honest client; at the end each of its messages is there, once and in order."""
    client = HonestClient(daemon.home)
    yield client
    client.close()
    found = read_rows(
        daemon.home,
        "SELECT content FROM messages WHERE session_id = ? ORDER BY rowid",
        client.session_id,
    )
    assert [content for (content,) in found] == [str(number) for number in range(client.appended)]


@pytest.fixture(autouse=True)
def nobody_is_disturbed(daemon, honest):
    """Around each test: the honest client goes on, and the daemon is still the same process."""
    assert honest.goes_on()
    yield
    assert honest.goes_on()
    assert discovery(daemon.home)["pid"] == daemon.pid
    assert daemon.process.poll() is None
