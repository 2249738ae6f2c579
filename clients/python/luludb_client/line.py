"""One client's commands in line: which were sent, which wait, and which go into the next frame.

No I/O and no clock. A command gets its seq when its first byte was written and keeps it until its
kept reply is in. `Core` decides what the daemon's answers mean; this module keeps the order.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

from luludb.errors import LuludbError
from luludb.limits import (
    CLIENT_BYTES_MAX,
    CLIENT_FRAME_BYTES_MAX,
    COLLECTED_COMMANDS_MIN,
    ENDING_MARGIN_S_MAX,
    FRAME_COMMANDS_MAX,
    PIPELINE_COMMANDS_MAX,
    UNANSWERED_FRAMES_MAX,
    WINDOW_COMMANDS_MAX,
)

Outcome = dict[str, Any] | LuludbError
_count_of = attrgetter("count")


Packed = tuple[bytes, str | None, bool, int]
"""What a `Command` is made of: its content, id, full and count."""


class Command:
    """One command of a caller, and what is known of it.

    Attributes:
        content: op and args, packed.
        id: of the session or message that it names, for who has to ask what became of it.
        full: whether durability full is asked for.
        count: how many commands it is; more than 1 for a transaction.
        deadline_s: when the caller gets an answer at the latest, by the driver's clock.
        margin_s: how long before the deadline a refused command is brought to its end.
        future: what the driver hangs on it; nothing here looks at it.
        outcome: the body of the reply, or the error that the caller gets; None until then.
        seq: given when the first byte is written.
        times_sent: as the seq that it has now.
        flight: the frame that carries it now; None where it has to be sent, again or at all.
        refusal: the last passing refusal that it met.
        is_ending: whether it ends with `refusal`, once a hello has shown that it was not applied.
        is_unknown: whether the daemon answered its only sending with `unknown_client`.
    """

    __slots__ = (
        "content",
        "count",
        "deadline_s",
        "flight",
        "full",
        "future",
        "id",
        "is_ending",
        "is_unknown",
        "margin_s",
        "outcome",
        "refusal",
        "seq",
        "times_sent",
    )

    def __init__(self, packed: Packed, now_s: float, timeout_s: float) -> None:
        # By place: one of these is made for each that goes in line, and arguments by name cost as
        # many instructions as the rest.
        self.content, self.id, self.full, self.count = packed
        self.deadline_s = now_s + timeout_s
        margin_s = timeout_s / 4
        self.margin_s = margin_s if margin_s < ENDING_MARGIN_S_MAX else ENDING_MARGIN_S_MAX
        self.times_sent = 0
        self.is_ending = self.is_unknown = False
        self.outcome: Outcome | None = None
        self.seq: int | None = None
        self.flight: Flight | None = None
        self.refusal: LuludbError | None = None
        self.future: Any = None


class Flight:
    """One frame that was sent and whose answer is not in.

    Attributes:
        is_overdue: whether it waited for so long that its commands were given up for lost.
    """

    __slots__ = ("commands", "first_seq", "is_overdue", "sent_s")

    def __init__(self, first_seq: int, commands: Sequence[Command], sent_s: float) -> None:
        self.first_seq = first_seq
        self.commands = commands
        self.sent_s = sent_s
        self.is_overdue = False


class Line:
    """The commands of one client_id, in the order in which they are applied.

    Invariants: `open` is in rising seq and holds what was sent and has no kept reply; `unsent`
    comes behind all of it. `idle` is the number of open commands that no flight carries.

    Attributes:
        last_seq: the highest seq given.
        bytes: of content, open and unsent.
        waiting: how many commands have a caller that still waits.
    """

    __slots__ = ("bytes", "flights", "idle", "last_seq", "open", "unsent", "waiting")

    def __init__(self) -> None:
        self.open: dict[int, Command] = {}
        # A set in order, from any place of which a cancelled command is taken out at once: from a
        # list or a deque, 10,000 that are cancelled together took 1.2 s.
        self.unsent: OrderedDict[Command, None] = OrderedDict()
        self.flights: deque[Flight] = deque()
        self.idle = 0
        self.last_seq = 0
        self.bytes = 0
        self.waiting = 0

    def __len__(self) -> int:
        return len(self.open) + len(self.unsent)

    @property
    def acked(self) -> int:
        """The highest seq up to which every kept reply is in."""
        for seq in self.open:
            return seq - 1
        return self.last_seq

    def has_room(self, command: Command) -> bool:
        """Whether one more may be put in line by who does not wait for its outcome."""
        return len(self.open) + len(self.unsent) < WINDOW_COMMANDS_MAX and (
            self.bytes + len(command.content) <= CLIENT_BYTES_MAX or not self.bytes
        )

    def add(self, command: Command) -> None:
        """Put a new command at the end."""
        size = len(command.content)
        # From here on without a call in between: a signal's exception must not part them.
        self.bytes += size
        self.waiting += 1
        self.unsent[command] = None

    def adopt(self, command: Command, sent_s: float) -> None:
        """Add a command that was sent while nothing was in line; it gets the next seq."""
        seq = self.last_seq + 1
        command.flight = flight = Flight(seq, (command,), sent_s)
        command.times_sent = 1
        # These three without a call in between: a signal's exception must not part them.
        command.seq = seq
        self.last_seq = seq
        self.open[seq] = command
        self.waiting += 1
        self.bytes += len(command.content)
        self.flights.append(flight)

    def next_run(self) -> list[Command]:
        """The commands of the next frame: open ones to be sent again first, then new ones.

        Their seqs follow each other without a gap. Empty where nothing has to be sent now.
        """
        if self.collects():
            return []
        commands = list(islice(self._candidates(), PIPELINE_COMMANDS_MAX))
        if (
            self.bytes + len(commands) > CLIENT_FRAME_BYTES_MAX
            or sum(map(_count_of, commands)) > FRAME_COMMANDS_MAX
        ):
            del commands[_fitting(commands) :]
        return commands

    def began(self, first_seq: int, commands: Sequence[Command], now_s: float) -> None:
        """Note that the first byte of a frame with these commands was written."""
        flight = Flight(first_seq, commands, now_s)
        opened, unsent = self.open, self.unsent
        for seq, command in enumerate(commands, first_seq):
            if command.seq is None:
                opened[seq] = command
                command.seq = self.last_seq = seq
                del unsent[command]
            elif command.flight is None:
                self.idle -= 1
            command.flight = flight
            command.times_sent += 1
            command.is_unknown = False
        self.flights.append(flight)

    def match(self, seq: int, count: int | None) -> Flight | None:
        """The earliest flight that a reply to `seq` answers.

        Args:
            seq: the reply's.
            count: how many commands it answers; None where it answers the frame as a whole.
        """
        for flight in self.flights:
            if flight.first_seq == seq and count in (None, len(flight.commands)):
                return flight
        return None

    def answered(
        self, flight: Flight, bodies: Sequence[dict[str, Any]], ended: list[Command]
    ) -> None:
        """Take away the oldest flight, which is not overdue, and its commands: all are kept.

        The same as `landed` and `finish` for each, at once. Where an exception out of a signal
        handler cuts it short, `grounded` does the rest.

        Args:
            flight: the first one.
            bodies: of the replies to its commands.
            ended: gets those commands with a future that have their outcome by this.
        """
        self.flights.popleft()
        opened = self.open
        for command, body in zip(flight.commands, bodies, strict=True):
            if command.seq not in opened:
                continue  # it was in an earlier frame too, whose answer came late
            if command.outcome is None:
                command.outcome = body
                self.waiting -= 1
                if command.future is not None:
                    ended.append(command)
            self.bytes -= len(command.content)
            del opened[command.seq]

    def overtaken(self, flight: Flight) -> None:
        """Take away, as lost, the flights that were sent before `flight`."""
        while self.flights[0] is not flight:
            self._put_down(self.flights.popleft())

    def landed(self, flight: Flight) -> None:
        """Take an answered flight away."""
        self.flights.remove(flight)
        self._put_down(flight)

    def overdue(self, flight: Flight) -> int:
        """Give up waiting for a flight's reply. Returns how many are overdue now."""
        flight.is_overdue = True
        self._put_down(flight)
        return sum(each.is_overdue for each in self.flights)

    def grounded(self) -> None:
        """Forget all flights: their connection is gone.

        What is counted elsewhere step by step is counted anew here: an exception out of a signal
        handler may have come between two steps, and then the connection is given up.
        """
        self.flights.clear()
        for command in self.open.values():
            command.flight = None
        everything = [*self.open.values(), *self.unsent]
        self.idle = len(self.open)
        self.bytes = sum(len(command.content) for command in everything)
        self.waiting = sum(command.outcome is None for command in everything)

    def oldest_awaited(self) -> Flight | None:
        """The earliest flight whose reply is still expected."""
        for flight in self.flights:
            if not flight.is_overdue:
                return flight
        return None

    def finish(self, command: Command, outcome: Outcome, ended: list[Command]) -> None:
        """Take a command out: it has a kept reply, or was never sent, or was proven not applied.

        Args:
            command: of this line.
            outcome: what its caller gets, unless it has something already.
            ended: gets it, if it has a future and has its outcome by this.
        """
        size = len(command.content)
        # From here on without a call in between: a signal's exception must not part them, or what
        # was said never to have been sent would be sent later.
        if command.seq is None:
            del self.unsent[command]
        else:
            del self.open[command.seq]
            if command.flight is None:
                self.idle -= 1
        self.bytes -= size
        if command.outcome is None:
            command.outcome = outcome
            self.waiting -= 1
            if command.future is not None:
                ended.append(command)

    def take_back(self, commands: Sequence[Command], last_seq: int) -> None:
        """Let open commands, the last in line, count as unsent; the next seq is `last_seq` + 1.

        No flight may be left, so that no answer to their old seqs can come.
        """
        assert not self.flights
        for command in reversed(commands):
            assert command.seq is not None
            del self.open[command.seq]
            self.idle -= 1
            command.seq = None
            command.times_sent = 0
            command.is_unknown = False
            self.unsent[command] = None
            self.unsent.move_to_end(command, last=False)
        self.last_seq = last_seq

    def _candidates(self) -> Iterable[Command]:
        return self._idle_first() if self.idle else self._unsent_in_window()

    def _idle_first(self) -> Iterator[Command]:
        expected = None
        for seq, command in self.open.items():
            if command.flight is None and expected in (None, seq):
                expected = seq + 1
                yield command
            elif expected is not None:
                return
        if expected == self.last_seq + 1:
            yield from self._unsent_in_window()

    def _unsent_in_window(self) -> Iterator[Command]:
        return islice(self.unsent, max(0, self.acked + WINDOW_COMMANDS_MAX - self.last_seq))

    def collects(self) -> bool:
        """Whether what is unsent waits for more, to go in one frame."""
        # While the daemon has frames of ours to work on, another small one gains nothing: what
        # waits is collected, as Nagle's algorithm does (RFC 896).
        return (
            not self.idle
            and len(self.flights) >= UNANSWERED_FRAMES_MAX
            and len(self.unsent) < COLLECTED_COMMANDS_MIN
            and not self.flights[-UNANSWERED_FRAMES_MAX].is_overdue  # the oldest are so first
        )

    def _put_down(self, flight: Flight) -> None:
        for command in flight.commands:
            if command.flight is flight:
                command.flight = None
                if command.seq in self.open:
                    self.idle += 1


def _fitting(commands: Sequence[Command]) -> int:
    """How many of the commands fit in one frame: one in any case."""
    content_bytes = count = 0
    for place, command in enumerate(commands):
        content_bytes += len(command.content) + 1
        count += command.count
        if place and (content_bytes > CLIENT_FRAME_BYTES_MAX or count > FRAME_COMMANDS_MAX):
            return place
    return len(commands)
