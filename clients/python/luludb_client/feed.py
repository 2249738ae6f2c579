"""Where one watcher stands in the change feed, without any I/O: when to look, what a look means.

A *look* reads `lulu_meta` and the next rows of `lulu_changes` in one read transaction. `Feed` says
when one is due, and turns what it found into changes without a gap, or into the error that says
why there can be none. Notices only make a look due sooner.
"""

from __future__ import annotations

from math import inf

from luludb.errors import ChangesPruned, DaemonUnavailable, DataLoss, InvalidRequest, LuludbError
from luludb.limits import INTEGER_MAX, WATCH_FAILING_S_MAX, WATCH_LOOK_S, WATCH_SETTLE_S
from luludb.model import Change
from luludb.tables.changes import ChangeRow
from luludb_client.look import Look
from luludb_client.operations import check_text


class Feed:
    """One watcher's place in the feed of one session, or of all.

    Invariant: `rev` only rises, and each change up to it that is watched was given out once.

    Args:
        session_id: the session that is watched; None is all.
        after_rev: the rev behind which to begin; 0 begins with the oldest kept, None with the
            first change behind the first look.

    Attributes:
        rev: where the watcher stands; None before the first look where `after_rev` is None.
        due_s: when to look next.

    Raises:
        InvalidRequest: `session_id` is no text, or `after_rev` no number from 0 on.
    """

    def __init__(self, session_id: str | None, after_rev: int | None) -> None:
        if after_rev is not None and (
            type(after_rev) is not int or not 0 <= after_rev <= INTEGER_MAX
        ):
            raise InvalidRequest(f"after_rev is {after_rev!r}; allowed is 0 to {INTEGER_MAX}")
        self.session_id = session_id
        self.topic = b"" if session_id is None else _topic(session_id)
        self.rev = after_rev
        self.due_s = 0.0
        self._takes_what_is_kept = after_rev == 0
        self._database_id: str | None = None
        self._last_rev = after_rev or 0  # who names a rev has seen it
        self._at_rev: ChangeRow | None = None
        self._failing_since_s: float | None = None
        self._settled_s = inf

    def take(self, look: Look, now_s: float) -> list[Change]:
        """The changes that a look at `rev` brought, in order.

        Raises:
            DataLoss: the database is another one, or lacks changes that were there before.
            ChangesPruned: changes behind `rev` are no longer kept.
        """
        self._judge(look)
        self.rev = look.through_rev
        self._takes_what_is_kept = False
        self._database_id, _, self._last_rev = look.marks
        self._at_rev = look.at_through_rev
        self._failing_since_s = None
        if look.through_rev < look.marks.last_rev:
            self.due_s = now_s
        else:
            self._put_off(now_s)
        return [Change(*row) for row in look.rows]

    def failed(self, error: LuludbError, now_s: float) -> None:
        """Note that a look could not be made. There may be no database yet.

        Raises:
            LuludbError: the error, where it is another one and has not passed for a while.
        """
        self._put_off(now_s)
        if isinstance(error, DaemonUnavailable):
            self.rev = self.rev or 0  # the first change there will ever be is behind this look
            self._failing_since_s = None
        elif self._failing_since_s is None:
            self._failing_since_s = now_s
        elif now_s - self._failing_since_s >= WATCH_FAILING_S_MAX:
            raise error

    def subscribed(self, now_s: float) -> None:
        """Note that a subscription was sent, so that changes before it took hold are looked for.

        ZMTP acknowledges no subscription: the daemon takes it in a moment later, and rings for
        nothing that it commits until then. So the look is made a moment later too.
        """
        self._settled_s = now_s + WATCH_SETTLE_S
        self.due_s = min(self.due_s, self._settled_s)

    def rang(self, topic: bytes, rev: int | None) -> None:
        """Note a notice; it is of no interest where its session or its changes are not.

        Args:
            topic: the session's id; ZeroMQ matches prefixes, so it may be a longer one.
            rev: the last rev of which it tells, None where it was not readable.
        """
        if self.topic and topic != self.topic:
            return
        if rev is None or self.rev is None or rev > self.rev:
            self.due_s = 0.0

    def _put_off(self, now_s: float) -> None:
        """After a look: the next one, but for notices."""
        if now_s >= self._settled_s:
            self._settled_s = inf
        self.due_s = min(now_s + WATCH_LOOK_S, self._settled_s)

    def _judge(self, look: Look) -> None:
        database_id, first_rev, last_rev = look.marks
        # In this order: what is committed between the two is told by the watch.
        advice = "Begin a new watch, then read what is there"
        if self._database_id not in (None, database_id):
            raise DataLoss(
                f"database is {database_id} and was {self._database_id}: a backup was restored,"
                f" or lulu.db was replaced. {advice}"
            )
        if last_rev < self._last_rev:
            raise DataLoss(
                f"database ends at rev {last_rev} and {self._last_rev} was seen: acknowledged"
                f" writes were lost. {advice}"
            )
        if self.rev is None or self._takes_what_is_kept:
            return
        if self.rev + 1 < first_rev:
            raise ChangesPruned(
                f"changes {self.rev + 1} to {first_rev - 1} are no longer kept."
                f" {advice}; changes_kept_max says how many are kept"
            )
        # A database that was set back and then written to again may end at a higher rev than was
        # seen, before anyone looks. Its change at `rev` is another one, if only by its time.
        if self._at_rev is not None and self.rev >= first_rev and look.at_rev != self._at_rev:
            raise DataLoss(
                f"change {self.rev} is not the one that was seen: the database was set back, and"
                f" written to since. {advice}"
            )


def _topic(session_id: str) -> bytes:
    check_text("session_id", session_id)
    try:
        return session_id.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"session_id is {session_id!r}, which is not Unicode text") from error
