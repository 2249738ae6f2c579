"""The order of commands in line, and what goes into one frame."""

from __future__ import annotations

import pytest

from luludb.errors import DaemonUnavailable
from luludb.limits import (
    CLIENT_FRAME_BYTES_MAX,
    COLLECTED_COMMANDS_MIN,
    FRAME_COMMANDS_MAX,
    PIPELINE_COMMANDS_MAX,
    UNANSWERED_FRAMES_MAX,
    WINDOW_COMMANDS_MAX,
)
from luludb_client.line import Command, Flight, Line


def command(content: bytes = b"x", count: int = 1) -> Command:
    return Command((content, None, False, count), 0.0, 10.0)


def line_of(count: int) -> Line:
    line = Line()
    for _ in range(count):
        line.add(command())
    return line


def send(line: Line, most: int | None = None) -> Flight:
    """Send the next run, or as much of it as is asked for."""
    run = line.next_run()[:most]
    line.began(run[0].seq or line.last_seq + 1, run, 0.0)
    return line.flights[-1]


def test_a_seq_is_given_when_the_first_byte_is_written_and_not_before() -> None:
    line = line_of(2)

    before = [each.seq for each in line.next_run()]
    send(line)

    assert before == [None, None]
    assert list(line.open) == [1, 2]


def test_acked_is_the_highest_seq_without_an_open_one_below() -> None:
    line = line_of(3)
    flight = send(line)
    line.landed(flight)

    for answered, acked in ((2, 0), (1, 2), (3, 3)):
        line.finish(line.open[answered], {}, [])

        assert line.acked == acked


def test_a_command_to_be_sent_again_goes_alone_where_a_later_one_is_still_under_way() -> None:
    line = line_of(3)
    first = send(line, 1)
    send(line, 1)
    line.landed(first)

    run = line.next_run()

    assert [each.seq for each in run] == [1]


def test_a_frame_has_no_gap_where_a_later_command_was_answered() -> None:
    line = line_of(3)
    flight = send(line, 2)
    line.landed(flight)
    line.finish(line.open[2], {}, [])

    assert [each.seq for each in line.next_run()] == [1]


def test_new_commands_follow_in_the_frame_where_all_open_ones_are_sent_again() -> None:
    line = line_of(3)
    flight = send(line, 2)
    line.landed(flight)

    run = line.next_run()

    assert [each.seq for each in run] == [1, 2, None]


def test_an_answered_flight_that_overtook_others_gives_them_up_for_lost() -> None:
    line = line_of(3)
    send(line, 1)
    second = send(line, 1)

    line.overtaken(second)
    line.landed(second)

    assert line.idle == 2
    assert not line.flights


def test_a_command_that_is_under_way_twice_is_idle_only_when_its_last_flight_ends() -> None:
    line = line_of(1)
    first = send(line)
    line.overdue(first)
    second = send(line)

    line.landed(first)
    idle_between = line.idle
    line.landed(second)

    assert (idle_between, line.idle) == (0, 1)


def test_no_more_than_the_window_is_sent() -> None:
    line = line_of(2 * WINDOW_COMMANDS_MAX)

    while line.next_run():
        send(line)

    assert line.last_seq == WINDOW_COMMANDS_MAX


def test_the_window_moves_with_acked_and_not_with_the_number_of_answers() -> None:
    line = line_of(2 * WINDOW_COMMANDS_MAX)
    while line.next_run():
        send(line)
    line.overtaken(line.flights[-1])
    line.landed(line.flights[-1])

    line.finish(line.open[2], {}, [])
    blocked = [each.seq for each in line.next_run()]
    line.finish(line.open[1], {}, [])

    assert blocked == [1]
    assert line.acked == 2


def test_small_frames_are_collected_while_others_are_unanswered() -> None:
    line = line_of(UNANSWERED_FRAMES_MAX + COLLECTED_COMMANDS_MIN)
    for _ in range(UNANSWERED_FRAMES_MAX):
        send(line, 1)

    enough = len(line.next_run())
    line.finish(next(reversed(line.unsent)), {}, [])
    too_few = len(line.next_run())
    line.overdue(line.flights[0])
    after_a_loss = [each.seq for each in line.next_run()]

    assert (enough, too_few) == (COLLECTED_COMMANDS_MIN, 0)
    assert after_a_loss == [1]


@pytest.mark.parametrize(
    ("commands", "sent"),
    [
        pytest.param([(1, 1)] * (PIPELINE_COMMANDS_MAX + 1), PIPELINE_COMMANDS_MAX, id="commands"),
        pytest.param([(CLIENT_FRAME_BYTES_MAX // 2, 1)] * 3, 1, id="bytes"),
        pytest.param([(1, FRAME_COMMANDS_MAX - 1), (1, 1), (1, 1)], 2, id="counted-commands"),
        pytest.param([(CLIENT_FRAME_BYTES_MAX * 2, 1), (1, 1)], 1, id="a-large-one-goes-alone"),
        pytest.param([(1, 1), (CLIENT_FRAME_BYTES_MAX * 2, 1)], 1, id="before-a-large-one"),
    ],
)
def test_a_frame_keeps_its_bounds(commands: list[tuple[int, int]], sent: int) -> None:
    line = Line()
    for size, count in commands:
        line.add(command(bytes(size), count))

    assert len(line.next_run()) == sent


def test_commands_taken_back_are_first_in_line_and_have_no_seq() -> None:
    line = line_of(4)
    send(line, 3)
    line.grounded()
    kept, *behind = line.open.values()

    line.take_back(behind, 1)

    assert list(line.open.values()) == [kept]
    assert list(line.unsent)[:2] == behind
    assert [each.seq for each in behind] == [None, None]
    assert (line.last_seq, line.idle) == (1, 1)


def test_an_unsent_command_is_taken_out_of_any_place_and_the_others_keep_theirs() -> None:
    line = line_of(6)
    commands = list(line.unsent)
    ended: list[Command] = []

    for place in (3, 0, 5):
        line.finish(commands[place], DaemonUnavailable("cancelled"), ended)
    flight = send(line)

    assert [*flight.commands] == [commands[1], commands[2], commands[4]]
    assert [command.seq for command in flight.commands] == [1, 2, 3]
    assert (line.waiting, ended) == (3, [])
