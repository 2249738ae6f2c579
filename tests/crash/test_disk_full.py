"""A disk without room: refused or acknowledged, and on again as soon as there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from luludb.errors import DiskFull
from luludb_client import Client
from luludb_client.testing import Daemon, running_daemon
from tests.crash.small_disk import SmallDisk, small_disk
from tests.peer import connected
from tests.serving import refused_start
from tests.system.conftest import read_rows

DISK_BYTES = 4 << 20
CLIENTS = 8
REFUSALS_A_CLIENT = 5
MESSAGES_AFTERWARDS = 5
WINDOW = 256
TIMEOUT_S = 30


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with small_disk(DISK_BYTES) as mounted:
        yield mounted


@pytest.fixture
def daemon(disk: SmallDisk) -> Iterator[Daemon]:
    with running_daemon(disk.home) as started:
        yield started


class Author:
    """A client that writes one session and remembers what it was told of each message."""

    def __init__(self, home: Path, name: str) -> None:
        self.client = Client(home, timeout_s=TIMEOUT_S)
        self.name = name
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self._count = 0
        self.client.create_session(name, "/w", id=name)

    def append(self, bytes: int = 6000) -> bool:
        """Whether it was acknowledged. Any other error than DiskFull fails the test."""
        self._count += 1
        id = f"{self.name}-{self._count:05}"
        try:
            self.client.append_message(self.name, "user", "x" * bytes, id=id)
        except DiskFull as error:
            assert "room" in error.message
            self.refused.append(id)
            return False
        self.acknowledged.append(id)
        return True

    def append_until_refused(self, times: int) -> None:
        while len(self.refused) < times:
            self.append()


def messages_of(home: Path, session_id: str) -> list[str]:
    sql = "SELECT id FROM messages WHERE session_id = ? ORDER BY rowid"
    return [id for (id,) in read_rows(home, sql, session_id)]


def check_whole(home: Path) -> None:
    assert read_rows(home, "PRAGMA integrity_check") == [("ok",)]
    (revs,) = read_rows(home, "SELECT count(*), max(rev), min(rev) FROM lulu_changes")
    assert revs[0] == revs[1] - revs[2] + 1


def test_clients_on_a_full_disk_are_refused_or_acknowledged_and_go_on_once_there_is_room(
    disk: SmallDisk, daemon: Daemon
) -> None:
    disk.fill(2 << 20)
    authors = [Author(disk.home, f"s{number}") for number in range(CLIENTS)]
    before = authors[0].client.status()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda author: author.append_until_refused(REFUSALS_A_CLIENT), authors))

        for author in authors:
            # Reads go on, and show each row that was acknowledged and none that was refused.
            ids = [message.id for message in author.client.list_messages(author.name)]
            assert ids == author.acknowledged
            assert author.acknowledged
        disk.make_room()
        after = list(
            pool.map(
                lambda author: [author.append() for _ in range(MESSAGES_AFTERWARDS)],
                authors,
            )
        )

    assert after == [[True] * MESSAGES_AFTERWARDS] * CLIENTS
    status = authors[0].client.status()
    assert (status["pid"], status["boot_id"]) == (before["pid"], before["boot_id"])
    assert status["pid"] == daemon.pid
    for author in authors:
        author.client.close()
        assert messages_of(disk.home, author.name) == author.acknowledged
    check_whole(disk.home)
    print(
        f"{sum(len(each.acknowledged) for each in authors)} acknowledged,"
        f" {sum(len(each.refused) for each in authors)} refused"
    )


def test_what_was_acknowledged_on_a_full_disk_survives_a_kill_and_a_start_with_little_room(
    disk: SmallDisk, daemon: Daemon
) -> None:
    disk.fill(1 << 20)
    author = Author(disk.home, "s")
    author.append_until_refused(REFUSALS_A_CLIENT)

    daemon.kill()
    disk.make_room()
    disk.fill(256 << 10)
    daemon.start()

    assert author.append(100)
    author.client.close()
    assert messages_of(disk.home, "s") == author.acknowledged
    check_whole(disk.home)


def test_a_log_that_finds_no_room_in_the_database_waits_in_the_log(tmp_path: Path) -> None:
    """The first checkpoint comes at a thousand pages, when half as much is free."""
    with small_disk(8 << 20) as disk, running_daemon(disk.home) as daemon:
        disk.fill(6 << 20)
        author = Author(disk.home, "s")
        author.append_until_refused(1)
        assert "no room on the disk to copy the write-ahead log back" in daemon.stderr()
        author.append_until_refused(REFUSALS_A_CLIENT)

        disk.make_room()

        assert [author.append() for _ in range(MESSAGES_AFTERWARDS)] == [True] * 5
        daemon.stop()
        daemon.start()
        assert author.append()
        author.client.close()
        assert messages_of(disk.home, "s") == author.acknowledged
        check_whole(disk.home)


def test_on_a_full_disk_a_daemon_stops_cleanly_and_says_why_it_cannot_start(
    disk: SmallDisk, daemon: Daemon
) -> None:
    disk.fill(1 << 20)
    author = Author(disk.home, "s")
    author.append_until_refused(1)
    disk.fill(0)

    daemon.stop()
    disk.fill(0)
    code, log = refused_start(disk.home)

    assert code == 1, log
    assert "room" in log or "No space left" in log
    assert "Traceback" not in log
    disk.make_room()
    daemon.start()
    assert author.append()
    author.client.close()
    assert messages_of(disk.home, "s") == author.acknowledged
    check_whole(disk.home)


def test_a_window_on_a_full_disk_has_an_outcome_for_each_command_and_nothing_twice(
    disk: SmallDisk, daemon: Daemon
) -> None:
    disk.fill(1 << 20)
    with Client(disk.home, timeout_s=TIMEOUT_S) as client:
        client.create_session("n", "/w", id="s")

        def submit(number: int) -> Any:
            return client.submit(
                "message.append",
                id=f"m{number:05}",
                session_id="s",
                role="user",
                content="x" * 8000,
            )

        futures = [submit(number) for number in range(WINDOW)]
        outcomes = [future.exception(TIMEOUT_S) for future in futures]
        acknowledged = [f"m{n:05}" for n, outcome in enumerate(outcomes) if outcome is None]
        kinds = Counter(type(outcome) for outcome in outcomes)
        print(kinds)
        assert set(kinds) == {type(None), DiskFull}
        assert messages_of(disk.home, "s") == acknowledged

        disk.make_room()
        again = [submit(number) for number in range(WINDOW, WINDOW + 50)]
        for future in again:
            future.result(TIMEOUT_S)

    acknowledged += [f"m{number:05}" for number in range(WINDOW, WINDOW + 50)]
    assert messages_of(disk.home, "s") == acknowledged
    check_whole(disk.home)


def _append(number: int, bytes: int) -> tuple[str, dict[str, Any]]:
    return "message.append", {
        "id": f"m{number:05}",
        "session_id": "s",
        "role": "user",
        "content": "x" * bytes,
    }


def test_a_disk_full_in_a_pipeline_ends_it_there_and_the_rest_is_applied_once_sent_again(
    disk: SmallDisk, daemon: Daemon
) -> None:
    with connected(disk.home) as peer:
        peer.create_session(id="s")
        disk.fill(512 << 10)
        commands = [_append(number, 20_000) for number in range(60)]

        answers = peer.pipeline(commands)

        codes = [answer.body.get("code", "done") for answer in answers]
        done = codes.index("disk_full")
        assert 0 < done < len(commands) - 1
        assert codes == ["done"] * done + ["disk_full"] + ["out_of_order"] * (60 - done - 1)
        assert messages_of(disk.home, "s") == [f"m{number:05}" for number in range(done)]

        first = answers[0].seq
        disk.make_room()
        # What was applied is answered as it was, and the rest takes its turn.
        repeated = peer.exchange(
            "pipeline", {"commands": commands}, seq=first, acked=first - 1
        ).body["replies"]
        assert repeated[:done] == [[answer.status, answer.body] for answer in answers[:done]]
        assert [status for status, _ in repeated] == [0] * 60

    assert messages_of(disk.home, "s") == [f"m{number:05}" for number in range(60)]
    check_whole(disk.home)


def test_frames_left_behind_on_an_old_connection_of_a_full_disk_are_not_applied_later(
    disk: SmallDisk, daemon: Daemon
) -> None:
    with connected(disk.home) as old:
        old.create_session(id="s")
        disk.fill(128 << 10)
        for seq in range(2, 42):
            old.send(*_append(seq, 20_000), seq=seq, acked=1)
        answers = [old.receive() for _ in range(40)]
        codes = Counter(answer.body.get("code", "done") for answer in answers)
        assert codes["disk_full"] > 0
        applied = codes["done"]
        with connected(disk.home, old.client_id) as new:
            assert new.seq == 1 + applied
            disk.make_room()
            for seq in range(2 + applied, 42):  # these come late, from the connection given up
                old.send(*_append(seq, 20_000), seq=seq, acked=1)
            late = [old.receive() for _ in range(40 - applied)]
            assert {answer.body["code"] for answer in late} <= {"stale_connection", "out_of_order"}
            new.done(*_append(99, 20_000))

    expected = [f"m{seq:05}" for seq in range(2, 2 + applied)]
    assert messages_of(disk.home, "s") == [*expected, "m00099"]
    check_whole(disk.home)
