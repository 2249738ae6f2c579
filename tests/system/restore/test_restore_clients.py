"""`luludb restore` and those who knew the old database: each is told, and readers go on."""

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from luludb_client import Client, DataLoss, LuludbError
from tests.databases import digest_of_rows, make_todays_file, query, reading
from tests.system.command_line import DEADLINE_S, luludb
from tests.system.restore.restoring import restored

CLIENT_TIMEOUT_S = 60.0


BUSY_CLIENT = """
import sys
from luludb_client import Client, LuludbError
with Client(sys.argv[1], timeout_s=60) as client:
    client.append_message("s", "user", "known")
    print("ready", flush=True)
    try:
        while True:
            client.append_message("s", "user", "after the backup")
    except LuludbError as error:
        first = error.code
    try:
        client.append_message("s", "user", "once more")
    except LuludbError as error:
        print(first, error.code)
"""


def append_until_told(client, told, is_under_way):
    """Blocking calls, one after the other."""
    try:
        while True:
            client.append_message("s", "user", "after the backup")
            is_under_way.set()
    except LuludbError as error:
        told.append(error)


def test_every_client_that_knew_the_old_database_is_told_and_none_goes_on(
    daemon, make_client, tmp_path
):
    """Processes and threads in blocking calls, pipelines under way, and clients that are idle."""
    home, file = daemon.home, tmp_path / "backup.db"
    with contextlib.ExitStack() as stack:

        def new_client():
            return stack.enter_context(make_client(home, timeout_s=CLIENT_TIMEOUT_S))

        # It has seen nothing that the backup lacks: only the database's id tells.
        idle = [new_client() for _ in range(3)]
        for client in idle:
            client.append_message("s", "user", "before the backup")
        assert luludb(home, "backup", str(file)).returncode == 0
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", BUSY_CLIENT, str(home)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        blocking = [(new_client(), [], threading.Event()) for _ in range(4)]
        threads = [threading.Thread(target=append_until_told, args=each) for each in blocking]
        for thread in threads:
            thread.start()
        for _, _, is_under_way in blocking:
            assert is_under_way.wait(DEADLINE_S)
        piping = [new_client() for _ in range(3)]
        for client in piping:
            client.submit("message.append", session_id="s", role="user", content="x").result()

        daemon.stop()
        futures = [
            client.submit("message.append", session_id="s", role="user", content="never")
            for client in piping
            for _ in range(20)
        ]
        restored(home, file)
        after = digest_of_rows(home / "lulu.db")
        daemon.start()

        for process in processes:
            assert process.communicate(timeout=DEADLINE_S)[0] == "data_loss data_loss\n"
        for thread in threads:
            thread.join(DEADLINE_S)
        assert [type(error) for _, (error,), _ in blocking] == [DataLoss] * len(blocking)
        assert "a backup was restored" in blocking[0][1][0].message
        for future in futures:
            assert isinstance(future.exception(DEADLINE_S), DataLoss)
        for client in (*idle, *piping, *(client for client, _, _ in blocking)):
            for _ in range(2):
                with pytest.raises(DataLoss):
                    client.append_message("s", "user", "not into another database")
            with pytest.raises(DataLoss):
                client.submit("session.create", name="n", working_dir="/w").result()
        assert digest_of_rows(home / "lulu.db") == after
        with make_client(home) as client:
            client.append_message("s", "user", "by a new client")


def watch_until_told(changes, told):
    """Follow the changes; what ends it is told."""
    try:
        for _ in changes:
            pass
    except LuludbError as error:
        told.append(error)


def test_every_watcher_is_told_also_one_that_has_seen_nothing_that_was_lost(
    daemon, make_client, tmp_path
):
    home, file = daemon.home, tmp_path / "backup.db"
    with make_client(home, timeout_s=CLIENT_TIMEOUT_S) as client:
        watches = [
            client.watch(),
            client.watch("s", after_rev=0),
            client.watch("no such session"),
        ]
        told = [[] for _ in watches]
        threads = [
            threading.Thread(target=watch_until_told, args=each)
            for each in zip(watches, told, strict=True)
        ]
        for thread in threads:
            thread.start()
        assert luludb(home, "backup", str(file)).returncode == 0
        client.append_message("s", "user", "after the backup")
        daemon.stop()
        restored(home, file)
        daemon.start()

        for thread in threads:
            thread.join(DEADLINE_S)
        assert [type(error) for (error,) in told] == [DataLoss] * len(watches)


def test_open_readers_see_the_restored_rows_at_once(daemon, backup):
    home = daemon.home
    with Client(home) as client, reading(home / "lulu.db") as reader:
        count = "SELECT count(*) FROM messages"
        assert reader.execute(count).fetchone() == (2,)
        assert client.get_message("m2") is not None
        daemon.stop()

        restored(home, backup)

        assert reader.execute(count).fetchone() == (1,)
        assert client.get_message("m2") is None
        daemon.start()
        with Client(home) as other:
            other.append_message("s", "user", "third", id="m3")
        assert reader.execute(count).fetchone() == (2,)
        assert client.get_message("m3").content == "third"


def test_reads_go_on_while_a_database_is_restored(home, tmp_path):
    """Each read finds the old rows or the new ones, and none fails."""
    make_todays_file(tmp_path / "new.db", messages=5000)
    is_over = threading.Event()

    def read_all_along():
        seen = set()
        with Client(home) as client:
            while not is_over.is_set():
                seen.add(len(client.list_sessions(status="done")))
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read_all_along) for _ in range(4)]
        try:
            restored(home, tmp_path / "new.db")
        finally:
            is_over.set()
        for reader in readers:
            assert reader.result(DEADLINE_S) <= {0, 1}
    assert query(home / "lulu.db", "SELECT count(*) FROM messages") == [(5000,)]
