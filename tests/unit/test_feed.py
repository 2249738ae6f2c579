"""Where a watcher stands: looks into a real SQLite file in memory, and no I/O beside."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from luludb.errors import Busy, ChangesPruned, DaemonUnavailable, DataLoss, InvalidRequest
from luludb.limits import (
    INTEGER_MAX,
    WATCH_FAILING_S_MAX,
    WATCH_LOOK_S,
    WATCH_PAGE_ROWS_MAX,
    WATCH_SCANNED_CHANGES_MAX,
    WATCH_SETTLE_S,
)
from luludb.tables import changes, meta, schema
from luludb.tables.changes import ChangeRow
from luludb_client import look as look_module
from luludb_client.feed import Feed
from luludb_client.look import read_look

NOW_S = 1000.0


class Database:
    """A file's change feed, as a daemon writes it; `history` has the pruned rows too."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        schema.migrate(self.connection)
        self.history: list[ChangeRow] = []
        self._commits = 0

    @property
    def marks(self) -> meta.Marks:
        return meta.read_marks(self.connection)

    def commit(self, *session_ids: str) -> None:
        self._commits += 1
        first = len(self.history) + 1
        rows = [
            (rev, "message.append", session_id, "m", f"commit {self._commits}")
            for rev, session_id in enumerate(session_ids, start=first)
        ]
        self.history += rows
        changes.add(self.connection, rows)
        meta.write(self.connection, "last_rev", len(self.history))

    def prune(self, first_rev: int) -> None:
        changes.delete_below(self.connection, first_rev)
        meta.write(self.connection, "first_rev", first_rev)

    def set_back(self, last_rev: int, *, database_id: str | None = None) -> None:
        """As a copy that was made at `last_rev` and is put back."""
        del self.history[last_rev:]
        self.connection.execute("DELETE FROM lulu_changes WHERE rev > ?", (last_rev,))
        meta.write(self.connection, "last_rev", last_rev)
        if database_id is not None:
            meta.write(self.connection, "database_id", database_id)

    def look(self, feed: Feed, now_s: float = NOW_S) -> list[int]:
        """The revs that one look of `feed` gives."""
        look = read_look(self.connection, feed.rev, feed.session_id)
        assert not self.connection.in_transaction
        return [change.rev for change in feed.take(look, now_s)]


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    with contextlib.closing(database.connection):
        yield database


# Where it begins.


def test_none_begins_behind_what_is_there_at_the_first_look(database: Database) -> None:
    database.commit("s", "s")
    feed = Feed(None, None)

    assert database.look(feed) == []
    database.commit("s", "t")
    assert database.look(feed) == [3, 4]
    assert database.look(feed) == []


def test_none_begins_at_the_very_first_change_where_there_is_no_database(
    database: Database,
) -> None:
    feed = Feed(None, None)

    feed.failed(DaemonUnavailable("no database yet"), NOW_S)
    database.commit("s", "s")

    assert database.look(feed) == [1, 2]


def test_0_begins_with_the_oldest_change_kept(database: Database) -> None:
    database.commit(*"ssssss")
    database.prune(4)
    feed = Feed(None, 0)

    assert database.look(feed) == [4, 5, 6]


def test_a_rev_begins_behind_it(database: Database) -> None:
    database.commit(*"ssssss")

    assert database.look(Feed(None, 4)) == [5, 6]
    assert database.look(Feed(None, 6)) == []


def test_a_change_has_the_columns_of_its_row(database: Database) -> None:
    database.commit("s")

    (change,) = Feed(None, 0).take(read_look(database.connection, 0, None), NOW_S)

    assert (change.rev, change.op, change.session_id, change.message_id, change.at) == (
        database.history[0]
    )


@pytest.mark.parametrize("after_rev", [-1, INTEGER_MAX + 1, 1.0, True, "1"])
def test_a_rev_that_is_none_is_refused(after_rev: object) -> None:
    with pytest.raises(InvalidRequest, match=f"allowed is 0 to {INTEGER_MAX}"):
        Feed(None, after_rev)  # type: ignore[arg-type]


@pytest.mark.parametrize("session_id", [b"s", 1, "\ud800"])
def test_a_session_id_that_is_no_text_is_refused(session_id: object) -> None:
    with pytest.raises(InvalidRequest):
        Feed(session_id, None)  # type: ignore[arg-type]


# What is no longer kept.


@pytest.mark.parametrize(
    ("after_rev", "first_rev", "is_pruned"),
    [
        pytest.param(1, 3, True, id="one-is-missing"),
        pytest.param(2, 3, False, id="the-next-is-the-oldest"),
        pytest.param(1, 7, True, id="none-is-kept"),
        pytest.param(5, 7, True, id="none-is-kept-and-one-is-missing"),
        pytest.param(6, 7, False, id="none-is-kept-and-none-is-missing"),
        pytest.param(0, 7, False, id="none-is-kept-and-0-asks-for-what-is"),
    ],
)
def test_changes_are_pruned_where_the_next_one_is_not_kept(
    database: Database, after_rev: int, first_rev: int, is_pruned: bool
) -> None:
    database.commit(*"ssssss")
    database.prune(first_rev)
    feed = Feed(None, after_rev)

    if is_pruned:
        with pytest.raises(ChangesPruned, match=f"{after_rev + 1} to {first_rev - 1} are no long"):
            database.look(feed)
    else:
        assert database.look(feed) == list(range(max(after_rev + 1, first_rev), 7))


@pytest.mark.parametrize("after_rev", [None, 0, 1])
@pytest.mark.parametrize("session_id", [None, "s"])
def test_a_watcher_that_fell_behind_is_told(
    database: Database, after_rev: int | None, session_id: str | None
) -> None:
    database.commit("s")
    feed = Feed(session_id, after_rev)
    database.look(feed)

    database.commit("t", "t", "t")
    database.prune(3)

    with pytest.raises(ChangesPruned):
        database.look(feed)


def test_none_kept_before_the_first_database_is_told(database: Database) -> None:
    feed = Feed(None, None)
    feed.failed(DaemonUnavailable("no database yet"), NOW_S)
    database.commit("s", "s")
    database.prune(2)

    with pytest.raises(ChangesPruned):
        database.look(feed)


# What was lost.


def test_another_database_is_data_loss(database: Database) -> None:
    database.commit("s")
    feed = Feed(None, 0)
    database.look(feed)

    database.set_back(1, database_id="another")

    with pytest.raises(DataLoss, match="database is another and was"):
        database.look(feed)


@pytest.mark.parametrize("session_id", [None, "s", "nothing of this"])
def test_an_older_database_is_data_loss(database: Database, session_id: str | None) -> None:
    database.commit("s", "s", "s")
    feed = Feed(session_id, 0)
    database.look(feed)

    database.set_back(2)

    with pytest.raises(DataLoss, match="ends at rev 2 and 3 was seen"):
        database.look(feed)


def test_a_rev_seen_in_lulu_meta_counts_though_its_change_was_not_given_out_yet(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_module, "WATCH_PAGE_ROWS_MAX", 1)
    database.commit("s", "s", "s")
    feed = Feed(None, 0)
    database.look(feed)

    database.set_back(2)

    with pytest.raises(DataLoss, match="ends at rev 2 and 3 was seen"):
        database.look(feed)


def test_a_rev_that_the_caller_names_was_seen(database: Database) -> None:
    database.commit("s")

    with pytest.raises(DataLoss, match="ends at rev 1 and 2 was seen"):
        database.look(Feed(None, 2))


@pytest.mark.parametrize("session_id", [None, "s", "t"])
@pytest.mark.parametrize("after_rev", [None, 0, 3])
def test_a_database_that_was_set_back_and_written_to_again_is_data_loss(
    database: Database, session_id: str | None, after_rev: int | None
) -> None:
    database.commit("s", "s", "s")
    feed = Feed(session_id, after_rev)
    database.look(feed)

    database.set_back(1)
    database.commit("s", "s", "s", "s")

    with pytest.raises(DataLoss, match="change 3 is not the one that was seen"):
        database.look(feed)


def test_a_watcher_whose_last_change_is_pruned_goes_on(database: Database) -> None:
    database.commit("s", "s")
    feed = Feed(None, 0)
    database.look(feed)

    database.prune(3)
    assert database.look(feed) == []
    database.commit("s")
    assert database.look(feed) == [3]


# Pages.


def test_a_look_gives_a_bounded_page_and_the_next_is_due_at_once(database: Database) -> None:
    database.commit(*["s"] * (WATCH_PAGE_ROWS_MAX + 1))
    feed = Feed(None, 0)

    assert database.look(feed) == list(range(1, WATCH_PAGE_ROWS_MAX + 1))
    assert feed.due_s <= NOW_S
    assert database.look(feed) == [WATCH_PAGE_ROWS_MAX + 1]
    assert feed.due_s == NOW_S + WATCH_LOOK_S


def test_a_look_for_one_session_passes_over_a_bounded_part_of_the_others(
    database: Database,
) -> None:
    database.commit(*["other"] * WATCH_SCANNED_CHANGES_MAX, "s")
    feed = Feed("s", 0)

    assert database.look(feed) == []
    assert feed.due_s <= NOW_S
    assert database.look(feed) == [WATCH_SCANNED_CHANGES_MAX + 1]


@pytest.mark.parametrize("session_id", [None, "s"])
def test_a_look_goes_by_the_key_of_the_table(database: Database, session_id: str | None) -> None:
    statements: list[str] = []
    database.connection.set_trace_callback(statements.append)
    database.commit("s", "s")
    database.look(Feed(session_id, 1))
    database.connection.set_trace_callback(None)

    selects = [each for each in statements if each.startswith("SELECT rev")]
    assert len(selects) == 2
    for statement in selects:
        plan = database.connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert [row[3].split(" (")[0] for row in plan] == [
            "SEARCH lulu_changes USING INTEGER PRIMARY KEY"
        ]


def test_a_look_is_one_transaction(database: Database) -> None:
    database.commit("s")
    statements: list[str] = []
    database.connection.set_trace_callback(statements.append)

    database.look(Feed(None, 0))

    assert statements[0] == "BEGIN"
    assert statements[-1] == "ROLLBACK"
    assert "BEGIN" not in statements[1:]
    assert "ROLLBACK" not in statements[:-1]


# When it looks.


def test_a_look_is_due_at_once_and_then_a_second_after_the_last(database: Database) -> None:
    feed = Feed(None, None)

    assert feed.due_s <= 0
    database.look(feed)
    assert feed.due_s == NOW_S + WATCH_LOOK_S


def test_a_notice_makes_a_look_due_once(database: Database) -> None:
    feed = Feed(None, None)
    database.look(feed)

    for rev in (1, 2, 2):
        feed.rang(b"s", rev)
    assert feed.due_s <= 0

    database.commit("s", "s")
    database.look(feed)
    for rev in (1, 2, 2):
        feed.rang(b"s", rev)
    assert feed.due_s == NOW_S + WATCH_LOOK_S


def test_a_notice_that_cannot_be_read_is_one_all_the_same(database: Database) -> None:
    feed = Feed(None, None)
    database.look(feed)

    feed.rang(b"s", None)

    assert feed.due_s <= 0


def test_a_notice_of_a_session_whose_id_only_begins_alike_is_none(database: Database) -> None:
    feed = Feed("s", None)
    database.look(feed)

    feed.rang(b"st", 5)
    assert feed.due_s == NOW_S + WATCH_LOOK_S
    feed.rang(b"s", 5)
    assert feed.due_s <= 0


def test_a_look_follows_a_moment_after_a_subscription(database: Database) -> None:
    feed = Feed(None, None)
    database.look(feed, NOW_S)

    feed.subscribed(NOW_S + 0.1)

    assert feed.due_s == NOW_S + 0.1 + WATCH_SETTLE_S
    database.look(feed, feed.due_s)
    assert feed.due_s == NOW_S + 0.1 + WATCH_SETTLE_S + WATCH_LOOK_S


def test_a_look_that_is_due_sooner_does_not_stand_for_the_one_after_a_subscription(
    database: Database,
) -> None:
    feed = Feed(None, None)
    feed.subscribed(NOW_S)
    assert feed.due_s <= 0

    database.look(feed, NOW_S)

    assert feed.due_s == NOW_S + WATCH_SETTLE_S


# Looks that fail.


def test_a_database_that_is_not_there_is_waited_for_without_an_end() -> None:
    feed = Feed(None, 5)

    for now_s in (0.0, 1.0, 1e6):
        feed.failed(DaemonUnavailable("no database"), now_s)
        assert feed.due_s == now_s + WATCH_LOOK_S
    assert feed.rev == 5


def test_a_failure_that_does_not_pass_is_raised(database: Database) -> None:
    feed = Feed(None, None)
    error = Busy("locked")

    feed.failed(error, 0.0)
    feed.failed(error, WATCH_FAILING_S_MAX - 1)
    database.look(feed)
    feed.failed(error, WATCH_FAILING_S_MAX)
    feed.failed(error, 2 * WATCH_FAILING_S_MAX - 1)

    with pytest.raises(Busy):
        feed.failed(error, 2 * WATCH_FAILING_S_MAX)


# All of it together.


@dataclass
class Watcher:
    feed: Feed
    start: int
    given: list[ChangeRow] = field(default_factory=list)
    seen_id: str | None = None
    seen_rev: int = 0
    at_seen: ChangeRow | None = None
    ended: bool = False


class Feeds(RuleBasedStateMachine):
    """Commits, retention, copies put back, and watchers that look whenever they like.

    The oracle knows the whole history, and says of each look whether it must give changes or fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self._before = (look_module.WATCH_PAGE_ROWS_MAX, look_module.WATCH_SCANNED_CHANGES_MAX)
        look_module.WATCH_PAGE_ROWS_MAX, look_module.WATCH_SCANNED_CHANGES_MAX = 3, 5  # type: ignore[misc]
        self.database = Database()
        self.watchers: list[Watcher] = []
        self.copies = 0

    def teardown(self) -> None:
        self.database.connection.close()
        look_module.WATCH_PAGE_ROWS_MAX, look_module.WATCH_SCANNED_CHANGES_MAX = self._before  # type: ignore[misc]

    @rule(session_ids=st.lists(st.sampled_from("stu"), min_size=1, max_size=12))
    def commit(self, session_ids: list[str]) -> None:
        self.database.commit(*session_ids)

    @rule(share=st.floats(0, 1))
    def prune(self, share: float) -> None:
        first, last = self.database.marks[1:]
        self.database.prune(first + round(share * (last + 1 - first)))

    @rule(share=st.floats(0, 1), keeps_id=st.booleans())
    def set_back(self, share: float, keeps_id: bool) -> None:
        first, last = self.database.marks[1:]
        self.copies += 1
        to = first - 1 + round(share * (last + 1 - first))
        self.database.set_back(to, database_id=None if keeps_id else f"copy {self.copies}")

    @rule(session_id=st.sampled_from([None, *"stu"]), back=st.none() | st.integers(0, 20))
    def watch(self, session_id: str | None, back: int | None) -> None:
        last = self.database.marks.last_rev
        after_rev = None if back is None else max(0, last - back)
        feed = Feed(session_id, after_rev)
        start = last if after_rev is None else after_rev
        self.watchers.append(Watcher(feed, start, seen_rev=after_rev or 0))
        if after_rev is None:
            self.look(len(self.watchers) - 1)

    @rule(number=st.integers(0, 20))
    def look(self, number: int) -> None:
        live = [each for each in self.watchers if not each.ended]
        if not live:
            return
        watcher = live[-1] if number >= len(live) else live[number]
        feed, marks, history = watcher.feed, self.database.marks, self.database.history
        is_lost = (
            watcher.seen_id not in (None, marks.database_id)
            or marks.last_rev < watcher.seen_rev
            or (
                watcher.at_seen is not None
                and watcher.at_seen[0] >= marks.first_rev
                and history[watcher.at_seen[0] - 1] != watcher.at_seen
            )
        )
        from_kept = feed.rev == 0 and watcher.seen_id is None
        is_pruned = feed.rev is not None and not from_kept and feed.rev + 1 < marks.first_rev
        if is_lost or is_pruned:
            watcher.ended = True
            with pytest.raises((DataLoss, ChangesPruned)) as caught:
                self.database.look(feed)
            assert is_lost or caught.type is ChangesPruned
            assert is_pruned or caught.type is DataLoss
            return
        if from_kept:
            watcher.start = marks.first_rev - 1
        # Only what this look gives: if the row that was seen last is set back and then pruned,
        # nobody can tell any more that the history before it is another one.
        before = watcher.start if from_kept or feed.rev is None else feed.rev
        revs = self.database.look(feed)
        assert len(revs) <= 3
        watcher.given += [history[rev - 1] for rev in revs]
        assert feed.rev is not None
        assert (feed.due_s <= NOW_S) == (feed.rev < marks.last_rev)
        watcher.seen_id, _, watcher.seen_rev = marks
        kept = marks.first_rev <= feed.rev
        watcher.at_seen = history[feed.rev - 1] if kept and feed.rev else None
        wanted = [row for row in history[before : feed.rev] if feed.session_id in (None, row[2])]
        assert revs == [row[0] for row in wanted]

    @invariant()
    def every_rev_was_given_once_and_in_order(self) -> None:
        for watcher in self.watchers:
            revs = [row[0] for row in watcher.given]
            assert revs == sorted(set(revs))


TestFeeds = Feeds.TestCase
TestFeeds.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
