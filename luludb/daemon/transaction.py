"""One transaction under way: what each command does to the tables, and what its reply says."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import Any

import apsw

from luludb.appends import APPEND, AppendMessages
from luludb.commands import (
    OP_OF_COMMAND,
    AppendMessage,
    Command,
    CreateSession,
    DeleteMessage,
    DeleteSession,
    SingleCommand,
    Transaction,
    UpdateMessage,
    UpdateSession,
)
from luludb.errors import (
    AlreadyExists,
    DiskFull,
    LuludbError,
    NotFound,
    StorageFailed,
    TooLarge,
)
from luludb.ids import new_id
from luludb.limits import DATABASE_ERROR_CHARACTERS_MAX, REPLY_BYTES_MAX
from luludb.model import OK, Outcome, Session, new_tuple
from luludb.tables import messages, schema, sessions
from luludb.tables.changes import ChangeRow
from luludb.wire import encode_body

Body = dict[str, Any]


class BatchLost(Exception):
    """Nothing of the batch is kept. `refusal` is what a command gets to which it happens alone."""

    def __init__(self, refusal: LuludbError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class OpenTransaction:
    """The commands of one batch, applied one after the other, not committed yet.

    Attributes:
        rev: the last rev given.
        changes: the rows for `lulu_changes`, which the writer adds before COMMIT.
    """

    def __init__(self, connection: apsw.Connection, *, rev: int, at: str, durability: str) -> None:
        self._connection = connection
        self._cursor = connection.cursor()  # a new one for each statement takes 1 µs more
        self._at = at
        self.durability = durability
        self.rev = rev
        self.changes: list[ChangeRow] = []

    def apply(self, command: Command, reply_bytes_max: int = REPLY_BYTES_MAX) -> Outcome:
        """Apply one command whole.

        Raises:
            LuludbError: it is refused, and left no trace.
            BatchLost: the transaction is gone, with every command before this one.
            StorageFailed: the disk failed.
        """
        # A single statement that fails undoes itself. Only where more can follow it, a second
        # statement or a reply that is too large, does a savepoint stand before it.
        if type(command) is AppendMessage and reply_bytes_max >= REPLY_BYTES_MAX:
            return new_tuple(Outcome, (OK, self._body(self._append_message(command))))
        rev, changes = self.rev, len(self.changes)
        self._connection.execute("SAVEPOINT command")
        try:
            outcome = Outcome(OK, self._body(self._run(command)))
            if len(outcome.body) > reply_bytes_max:
                raise TooLarge(
                    f"reply would have {len(outcome.body)} bytes; the most is {reply_bytes_max}."
                    " The command was undone"
                )
        except LuludbError:
            self._connection.execute("ROLLBACK TO command")
            self._connection.execute("RELEASE command")
            self.rev = rev
            del self.changes[changes:]
            raise
        self._connection.execute("RELEASE command")
        return outcome

    def _body(self, body: Body) -> bytes:
        body["durability"] = self.durability
        return encode_body(body)

    def apply_appends(self, appends: AppendMessages) -> list[bytes] | None:
        """Apply several commands, each a plain append, at once.

        Returns:
            The bodies of their replies; None where one is refused, and then none was applied.

        Raises:
            BatchLost, StorageFailed: as `apply` does.
        """
        revs = self._append_all(appends)
        if revs is None:
            return None
        durability = self.durability
        return [
            encode_body(
                {
                    "rev": rev,
                    "message": {
                        "id": id,
                        "session_id": session_id,
                        "role": role,
                        "timestamp": timestamp,
                    },
                    "durability": durability,
                }
            )
            for rev, id, session_id, role, timestamp in zip(
                revs,
                appends.ids,
                appends.session_ids,
                appends.roles,
                self._timestamps(appends),
                strict=True,
            )
        ]

    def _append_all(self, appends: AppendMessages) -> range | None:
        """Append with one statement. Returns the revs; None where one is refused and none done."""
        if schema.has_triggers(self._connection):
            return None  # which may leave a row out without a word
        count = len(appends.ids)
        self._connection.execute("SAVEPOINT appends")
        try:
            messages.insert_many(
                self._connection, zip(*appends[:4], self._timestamps(appends), strict=True)
            )
        except apsw.ConstraintError:
            self._connection.execute("ROLLBACK TO appends")
            self._connection.execute("RELEASE appends")
            return None
        self._connection.execute("RELEASE appends")
        revs = range(self.rev + 1, self.rev + 1 + count)
        self.rev += count
        self.changes += zip(
            revs,
            repeat(APPEND, count),
            appends.session_ids,
            appends.ids,
            repeat(self._at, count),
            strict=True,
        )
        return revs

    def _timestamps(self, appends: AppendMessages) -> Iterable[str]:
        return appends.timestamps or repeat(self._at, len(appends.ids))

    def _run(self, command: Command) -> Body:
        if not isinstance(command, Transaction):
            return self._single(command)
        results: list[Body] = []
        for each in command.commands:
            if not isinstance(each, AppendMessages):
                self._add_result(results, each)
            elif (revs := self._append_all(each)) is not None:
                results += [{"rev": rev, "id": id} for rev, id in zip(revs, each.ids, strict=True)]
            else:
                for single in _one_by_one(each):
                    self._add_result(results, single)
        return {"rev": self.rev, "results": results}

    def _add_result(self, results: list[Body], single: SingleCommand) -> None:
        try:
            results.append(_result(single, self._single(single)))
        except LuludbError as error:
            error.details["index"] = len(results)
            raise
        except BatchLost as lost:
            lost.refusal.details["index"] = len(results)
            raise

    def _single(self, command: SingleCommand) -> Body:
        match command:
            case AppendMessage():
                return self._append_message(command)
            case CreateSession():
                return self._create_session(command)
            case UpdateSession():
                return self._update_session(command)
            case DeleteSession():
                return self._delete_session(command)
            case UpdateMessage():
                return self._update_message(command)
            case DeleteMessage():
                return self._delete_message(command)

    def _append_message(self, command: AppendMessage) -> Body:
        id = command.id or new_id()
        timestamp = command.timestamp or self._at
        try:
            messages.insert(
                self._cursor, id, command.session_id, command.role, command.content, timestamp
            )
        except apsw.ConstraintError as error:
            raise self._refusal(error, f"message {id}", command.session_id) from error
        if not self._connection.changes():
            raise _left_out(f"message {id}")
        self.rev = rev = self.rev + 1
        self.changes.append((rev, APPEND, command.session_id, id, self._at))
        message = {
            "id": id,
            "session_id": command.session_id,
            "role": command.role,
            "timestamp": timestamp,
        }
        return {"rev": rev, "message": message}

    def _create_session(self, command: CreateSession) -> Body:
        created_at = command.created_at or self._at
        session = Session(
            command.id or new_id(),
            command.name,
            command.status,
            command.working_dir,
            created_at,
            command.updated_at or created_at,
        )
        try:
            sessions.insert(self._connection, session)
        except apsw.ConstraintError as error:
            raise self._refusal(error, f"session {session.id}", None) from error
        if not self._connection.changes():
            raise _left_out(f"session {session.id}")
        return {"rev": self._changed(command, session.id, None), "session": _as_map(session)}

    def _update_session(self, command: UpdateSession) -> Body:
        session = sessions.update(
            self._connection,
            command.id,
            name=command.name,
            status=command.status,
            working_dir=command.working_dir,
            updated_at=self._at,
        )
        if session is None:
            raise NotFound(f"session {command.id} does not exist")
        return {"rev": self._changed(command, command.id, None), "session": _as_map(session)}

    def _delete_session(self, command: DeleteSession) -> Body:
        count = sessions.delete(self._connection, command.id)
        if count is None:
            raise NotFound(f"session {command.id} does not exist")
        return {"rev": self._changed(command, command.id, None), "deleted_messages": count}

    def _update_message(self, command: UpdateMessage) -> Body:
        message = messages.update(self._connection, command.id, command.content)
        if message is None:
            raise NotFound(f"message {command.id} does not exist")
        shown = {
            "id": message.id,
            "session_id": message.session_id,
            "role": message.role,
            "timestamp": message.timestamp,
        }
        return {"rev": self._changed(command, message.session_id, message.id), "message": shown}

    def _delete_message(self, command: DeleteMessage) -> Body:
        session_id = messages.delete(self._connection, command.id)
        if session_id is None:
            raise NotFound(f"message {command.id} does not exist")
        return {"rev": self._changed(command, session_id, command.id)}

    def _changed(self, command: SingleCommand, session_id: str, message_id: str | None) -> int:
        self.rev += 1
        op = OP_OF_COMMAND[type(command)]
        self.changes.append((self.rev, op, session_id, message_id, self._at))
        return self.rev

    def _refusal(
        self, error: apsw.ConstraintError, subject: str, session_id: str | None
    ) -> LuludbError:
        match getattr(error, "extendedresult", None):
            case apsw.SQLITE_CONSTRAINT_PRIMARYKEY:
                return AlreadyExists(f"{subject} exists already")
            case apsw.SQLITE_CONSTRAINT_FOREIGNKEY:
                return NotFound(f"session {session_id} does not exist")
        # A trigger or a constraint of somebody else's, which may have rolled back more than its
        # own statement.
        raise _refused_by_database(error)


def _one_by_one(appends: AppendMessages) -> list[AppendMessage]:
    timestamps = appends.timestamps or repeat(None, len(appends.ids))
    return [AppendMessage(*row) for row in zip(*appends[:4], timestamps, strict=True)]


def storage_error(error: apsw.Error) -> BatchLost | StorageFailed:
    """What an error of SQLite that no command expects means for the batch.

    A full disk and a bug cost the batch and no more. After anything else, a failing disk above
    all, what is kept is not known, and the daemon has to stop.
    """
    if isinstance(error, apsw.FullError):
        return BatchLost(
            DiskFull("there is no room on the disk; free some, then it goes on by itself")
        )
    if isinstance(
        error,
        apsw.SQLError
        | apsw.ConstraintError
        | apsw.MismatchError
        | apsw.TooBigError
        | apsw.RangeError
        | apsw.AuthError,
    ):
        return _refused_by_database(error)
    return StorageFailed(
        f"SQLite says of lulu.db: {error} (code {getattr(error, 'extendedresult', '?')});"
        " look at the disk and the system's log, then start the daemon again"
    )


def _refused_by_database(error: apsw.Error) -> BatchLost:
    # What a trigger or a check of somebody else's says may be of any length.
    why = str(error)[:DATABASE_ERROR_CHARACTERS_MAX]
    return BatchLost(LuludbError(f"the database refused it: {why}"))


def _left_out(subject: str) -> BatchLost:
    # A trigger of somebody else's may leave a row out without an error: RAISE(IGNORE),
    # sqlite.org/lang_createtrigger.html.
    return BatchLost(LuludbError(f"a trigger in the database left {subject} out"))


def _result(command: SingleCommand, body: Body) -> Body:
    """What a transaction's reply says of one of its commands."""
    match command:
        case AppendMessage():
            return {"rev": body["rev"], "id": body["message"]["id"]}
        case CreateSession():
            return {"rev": body["rev"], "id": body["session"]["id"]}
        case DeleteSession():
            return body
    return {"rev": body["rev"]}


def _as_map(session: Session) -> dict[str, str]:
    return {
        "id": session.id,
        "name": session.name,
        "status": session.status,
        "working_dir": session.working_dir,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }
