"""Replays a session's messages in the terminal, at the pace at which they were written.

    python examples/replay.py SESSION [--speed 10] [--pause-max 5] [--follow] [--home DIR]

`--speed 10` is ten times as fast, `--pause-max 5` waits five seconds at most between two messages,
and `--follow` goes on with those that come. SESSION is an id, as `luludb session list` shows it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf

from luludb_client import ChangesPruned, Client, DataLoss, LuludbError, Message

NO_TIME = timedelta(0)


def messages(client: Client, session_id: str, *, follow: bool) -> Iterator[Message]:
    """Each message of a session once, in the order in which they were appended."""
    shown = set()
    while True:
        # The watch comes before the reading: what is committed in between is in both, and what
        # comes later is told by the watch.
        watch = client.watch(session_id)
        for message in client.list_messages(session_id):
            if message.id not in shown:
                shown.add(message.id)
                yield message
        if not follow:
            return
        try:
            for change in watch:
                if change.op == "session.delete":
                    return
                new = change.op == "message.append" and change.message_id not in shown
                found = client.get_message(change.message_id or "") if new else None
                if found is not None:  # else it was deleted meanwhile
                    shown.add(found.id)
                    yield found
        except (ChangesPruned, DataLoss) as error:
            # It stood still for too long, or a backup was restored: read anew, watch anew.
            print(f"replay: {error}", file=sys.stderr)


def replay(
    client: Client, session_id: str, *, speed: float, pause_s_max: float, follow: bool
) -> None:
    began = datetime.now(UTC)
    before = None
    style, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    for message in messages(client, session_id, follow=follow):
        at = time_of(message)
        is_live = at is not None and at >= began
        gap = NO_TIME if at is None or before is None or is_live else at - before
        time.sleep(min(max(gap, NO_TIME).total_seconds() / speed, pause_s_max))
        before = at or before
        print(f"{style}{harmless(message.role)}{plain}  {harmless(message.timestamp)}")
        print(f"{harmless(message.content)}\n", flush=True)


def time_of(message: Message) -> datetime | None:
    """When it was written; None where another program wrote the time in a form of its own."""
    try:
        return datetime.fromisoformat(message.timestamp).astimezone(UTC)
    except ValueError:
        return None


def harmless(text: str) -> str:
    r"""`text` with what could move the cursor or change the terminal written out, as `\x1b`."""
    lines = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in lines)


def above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description="Replays a session's messages at their pace.")
    parser.add_argument("session", help="the session's id")
    parser.add_argument("--speed", type=above_zero, default=1.0, help="10: ten times as fast")
    parser.add_argument("--pause-max", type=above_zero, default=inf, help="seconds")
    parser.add_argument("--follow", action="store_true", help="go on with those that come")
    parser.add_argument("--home", help="the directory of the database; else LULUDB_HOME")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with Client(args.home) as client:
            if client.get_session(args.session) is None:
                print(f"replay: there is no session {args.session}", file=sys.stderr)
                return 1
            pace = {"speed": args.speed, "pause_s_max": args.pause_max}
            replay(client, args.session, **pace, follow=args.follow)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the pipe has enough, as `head`. (SIGPIPE stays ignored: at its default a
        # daemon that goes away would kill this program.) Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except LuludbError as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
