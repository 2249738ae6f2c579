"""`compact`: free pages given back behind a turn's batch, and what of it nobody else may feel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from luludb.daemon import compaction
from luludb.errors import ShuttingDown, StorageFailed
from luludb.limits import COMPACT_PAGES_MAX
from tests.databases import make_todays_file
from tests.unit.turns import Clock, Peer, WriterUnderTest, integrity

BYTES = 3000  # of a message, so that nearly every one has a page of its own
ROWS = 60
Fails = Any


@pytest.fixture
def under_test(tmp_path: Path) -> Iterator[WriterUnderTest]:
    """A writer with free pages between those of the messages that stayed."""
    writer = WriterUnderTest(tmp_path, Clock())
    fill_and_delete(writer)
    yield writer
    writer.close()


def fill_and_delete(writer: WriterUnderTest) -> None:
    peer = Peer(b"filler")
    writer.turn(peer.hello(), peer.session("s"))
    writer.turn(*(peer.message("s", str(at) * BYTES, id=f"m{at}") for at in range(ROWS)))
    writer.turn(*(peer.next("message.delete", {"id": f"m{at}"}) for at in range(0, ROWS, 2)))


def compact(writer: WriterUnderTest, **args: Any) -> list[Any]:
    (reply,) = writer.turn(Peer().frame("compact", args, seq=0))
    return reply


def pragma(writer: WriterUnderTest, name: str) -> int:
    return int(writer.connection.execute(f"PRAGMA {name}").get)


def test_compact_gives_pages_back_and_tells_what_is_left(under_test: WriterUnderTest) -> None:
    free, pages = pragma(under_test, "freelist_count"), pragma(under_test, "page_count")
    kept = under_test.rows("SELECT rowid, * FROM messages ORDER BY rowid")

    _, seq, status, body = compact(under_test, pages=10)

    assert (seq, status) == (0, 0)
    assert body["freed_pages"] == 10
    assert body["free_pages"] == free - 10 == pragma(under_test, "freelist_count")
    assert body["pages"] == pragma(under_test, "page_count") <= pages - 10
    assert (body["page_bytes"], body["is_possible"]) == (4096, True)
    assert under_test.rows("SELECT rowid, * FROM messages ORDER BY rowid") == kept
    assert integrity(under_test.connection) == "ok"


def test_compact_of_no_page_tells_how_many_are_free(under_test: WriterUnderTest) -> None:
    free = pragma(under_test, "freelist_count")

    body = compact(under_test, pages=0)[3]

    assert (body["freed_pages"], body["free_pages"]) == (0, free)


def test_compact_ends_after_its_time(
    under_test: WriterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "COMPACT_MS_MAX", 0)

    assert compact(under_test, pages=ROWS)[3]["freed_pages"] == 0


def test_several_in_one_turn_take_no_longer_than_one(under_test: WriterUnderTest) -> None:
    frame = Peer().frame("compact", {"pages": 4}, seq=0)

    replies = under_test.turn(frame, frame)

    assert [reply[3]["freed_pages"] for reply in replies] == [4, 0]


def test_compact_is_no_change_and_no_batch(under_test: WriterUnderTest) -> None:
    last_rev, batches = under_test.commit.last_rev, under_test.figures.batches_total

    compact(under_test, pages=10)

    assert under_test.batches == []
    assert (under_test.commit.last_rev, under_test.figures.batches_total) == (last_rev, batches)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        pytest.param({}, "missing", id="missing"),
        pytest.param({"pages": -1}, "-1", id="below-zero"),
        pytest.param({"pages": COMPACT_PAGES_MAX + 1}, str(COMPACT_PAGES_MAX), id="too-many"),
        pytest.param({"pages": True}, "True", id="a-boolean"),
        pytest.param({"pages": "1"}, "'1'", id="a-text"),
        pytest.param({"pages": 1, "more": 1}, "more", id="unknown-key"),
    ],
)
def test_other_args_are_refused(
    under_test: WriterUnderTest, args: dict[str, Any], named: str
) -> None:
    _, seq, status, body = compact(under_test, **args)

    assert (seq, status, body["code"]) == (0, 1, "invalid")
    assert named in body["message"]


def test_with_a_seq_it_is_no_command(under_test: WriterUnderTest) -> None:
    peer = Peer()

    replies = under_test.turn(peer.hello(), peer.next("compact", {"pages": 1}))

    assert replies[1][3]["code"] == "unknown_op"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(apsw.FullError(), "disk_full", id="disk-full"),
        pytest.param(apsw.BusyError(), "busy", id="foreign-lock"),
        pytest.param(ZeroDivisionError(), "internal", id="bug"),
    ],
)
def test_what_fails_costs_the_compaction_alone(
    under_test: WriterUnderTest, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    peer = Peer()
    under_test.turn(peer.hello())

    def fails(connection: apsw.Connection, _: int) -> Fails:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM messages")
        raise error

    monkeypatch.setattr(compaction, "_give_back", fails)
    frame = Peer().frame("compact", {"pages": 1}, seq=0)
    replies = under_test.turn(peer.message("s", "before"), frame, peer.message("s", "behind"))

    assert [reply[2] for reply in replies] == [0, 1, 0]
    assert replies[1][3]["code"] == code
    assert len(under_test.rows("SELECT 1 FROM messages")) == ROWS // 2 + 2
    assert under_test.turn(peer.message("s", "after"))[0][2] == 0


def test_a_failing_disk_ends_the_turn_without_a_reply(
    under_test: WriterUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Fails:
        raise apsw.IOError

    monkeypatch.setattr(compaction, "_give_back", fails)

    with pytest.raises(StorageFailed):
        compact(under_test, pages=1)


def test_a_daemon_that_stops_compacts_no_more(under_test: WriterUnderTest) -> None:
    free = pragma(under_test, "freelist_count")

    (reply,) = under_test.turn(
        Peer().frame("compact", {"pages": 5}, seq=0), refusal=ShuttingDown("it stops")
    )

    assert reply[3]["code"] == "shutting_down"
    assert pragma(under_test, "freelist_count") == free


def test_a_file_made_without_auto_vacuum_says_that_it_cannot(tmp_path: Path) -> None:
    make_todays_file(tmp_path / "lulu.db")
    writer = WriterUnderTest(tmp_path, Clock())
    fill_and_delete(writer)

    body = compact(writer, pages=10)[3]

    assert (body["freed_pages"], body["is_possible"]) == (0, False)
    assert body["free_pages"] > 0
    writer.close()
