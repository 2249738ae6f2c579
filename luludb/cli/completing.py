"""Completion of session ids in the shell, from the database, with the names beside them."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Final

from click.shell_completion import CompletionItem
from click.types import StringParamType

from luludb.cli.options import Target
from luludb.cli.texts import one_line
from luludb.errors import LuludbError
from luludb.limits import COMPLETED_S_MAX, COMPLETED_SESSIONS_MAX
from luludb.tables import sessions

if TYPE_CHECKING:
    from click import Context, Parameter

# An id of one's own may hold any character. Only what no shell takes apart is offered.
_IS_PLAIN: Final = re.compile(r"[\w.@%+=/-]+").fullmatch


class SessionId(StringParamType):
    """A text; the shell offers the ids of the newest sessions."""

    def shell_complete(
        self,
        ctx: Context,
        param: Parameter,  # noqa: ARG002  # click gives it
        incomplete: str,
    ) -> list[CompletionItem]:
        """Ids that begin with `incomplete`; none where there is no database, without a word."""
        from luludb_client.replica import Replica

        try:
            home = ctx.ensure_object(Target).home
            with closing(Replica(home, COMPLETED_S_MAX)) as replica:
                found = replica.read(
                    lambda connection: sessions.ids_and_names(
                        connection, prefix=incomplete, rows_max=COMPLETED_SESSIONS_MAX
                    )
                )
        except (LuludbError, OSError):  # whoever presses Tab wants no message in the line
            return []
        return [CompletionItem(id, help=one_line(name)) for id, name in found if _IS_PLAIN(id)]


SESSION_ID: Final = SessionId()
