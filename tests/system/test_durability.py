"""What `full` and `normal` mean on the disk: whether the log is synced before the reply."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.serving import serving

CREATE = ["session.create", {"name": "n", "working_dir": "/w"}]
FULL = {"durability": "full"}


class SyncCounter:
    """strace on a daemon, which counts its syncs from the moment that it is attached."""

    def __init__(self, pid, path) -> None:
        self._path = path
        self._process = subprocess.Popen(
            ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(path), "-p", str(pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self._process.stderr.readline()
        if "attached" not in line:
            self._process.communicate()
            pytest.skip(f"privilege: strace may not attach: {line.strip()}")

    def stop(self) -> int:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()
        text = self._path.read_text()
        return text.count("fdatasync(") + text.count("fsync(") - text.count("resumed>")


def syncs_during(server, path, work):
    counter = SyncCounter(server.pid, path)
    try:
        work()
    finally:
        syncs = counter.stop()
    return syncs


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_full_syncs_the_log_for_each_reply_and_normal_does_not(fresh_home, connect, tmp_path):
    with serving(fresh_home) as server:
        peer = connect(fresh_home)
        peer.create_session()

        normal = syncs_during(
            server, tmp_path / "normal", lambda: [peer.done(*CREATE) for _ in range(20)]
        )
        full = syncs_during(
            server, tmp_path / "full", lambda: [peer.done(*CREATE, options=FULL) for _ in range(20)]
        )

        assert normal == 0
        assert full >= 20


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_daemon_at_full_syncs_for_each_reply(fresh_home, connect, tmp_path):
    with serving(fresh_home, "--durability", "full") as server:
        peer = connect(fresh_home)
        bodies = []

        full = syncs_during(
            server,
            tmp_path / "full",
            lambda: bodies.extend(peer.done(*CREATE) for _ in range(20)),
        )

        assert full >= 20
        assert {body["durability"] for body in bodies} == {"full"}


def test_one_that_asks_for_full_has_its_whole_batch_committed_so(fresh_home, connect):
    with serving(fresh_home) as server:
        demanding, modest = connect(fresh_home), connect(fresh_home)
        met = []
        for seq in range(1, 31):
            os.kill(server.pid, signal.SIGSTOP)
            modest.send(*CREATE, seq=seq, acked=seq - 1)
            demanding.send(*CREATE, seq=seq, acked=seq - 1, options=FULL)
            os.kill(server.pid, signal.SIGCONT)
            asked, other = demanding.receive(), modest.receive()

            assert asked.body["durability"] == "full"
            met.append(other.body["durability"])
            # What was told stays told.
            assert modest.exchange(*CREATE, seq=seq, acked=seq - 1) == other

    # Where both came in one batch, both were synced.
    assert "full" in met
    assert set(met) <= {"full", "normal"}
