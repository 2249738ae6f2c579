"""The screen of `luludb top`, without a terminal."""

import pytest

from luludb.admin.activity import COUNTERS, Activity, Busy, commands_of, growth
from luludb.cli.figures import Disk
from luludb.cli.top_screen import screen_lines
from tests.unit.status import FIGURES

DISK = Disk(database_bytes=680 << 20, free_bytes=120 << 30)
ID = "01a20739-34d1-7c48-8dbe-4dfc72887fe6"
BUSY = Activity(
    figures=FIGURES,
    unavailable="",
    per_s=dict.fromkeys(COUNTERS, 12345.6),
    sessions=tuple(Busy(ID, f"session {n} 日本語" * 9, 100.0 - n) for n in range(20)),
    clients=tuple(Busy(f"{n:08x}", "a\nname", 50.0 - n) for n in range(20)),
)
ABSENT = Activity(None, "no daemon serves /h: it is not there; " + "start it " * 20, {}, (), ())


def shown(activity, *, width=80, height=24, home="/home/dev/lulu", is_live=True):
    lines = screen_lines(activity, DISK, home=home, width=width, height=height, is_live=is_live)
    return [line.text for line in lines]


def test_it_fills_24_lines_of_80_columns_and_no_more():
    from rich.cells import cell_len

    lines = shown(BUSY)

    assert 22 <= len(lines) <= 24
    assert max(cell_len(line) for line in lines) <= 80
    assert lines[-1] == "q or Ctrl-C ends"


@pytest.mark.parametrize("activity", [BUSY, ABSENT])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (20, 6), (40, 12), (300, 90)])
def test_it_fits_terminals_of_every_size(activity, width, height):
    lines = shown(activity, width=width, height=height)

    assert 1 <= len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_it_shows_rates_sizes_percentiles_and_who_is_the_busiest():
    text = "\n".join(shown(BUSY))

    for part in (
        "running for 1 d 1 h, pid 24822, durability full",
        "commands/s        12,346",
        "database       680.0 MiB",
        "commit ms           0.50      1.25  1,000.00",
        f"       100  {ID}  session 0 日本語",
        "        50  00000000  a\\nname",
    ):
        assert part in text


def test_rates_that_are_not_known_yet_are_dashes():
    first = Activity(FIGURES, "", {}, (), ())

    assert "commands/s             -" in "\n".join(shown(first))


def test_without_a_daemon_the_whole_message_is_there():
    lines = shown(ABSENT)

    assert "no daemon answers" in lines[0]
    assert ABSENT.unavailable.strip() in " ".join(lines)


def test_a_home_moves_no_cursor():
    assert "\\x1b" in shown(BUSY, home="/a\x1b[2J")[0]


def test_growth_is_a_second_s_and_of_one_daemon_only():
    before = dict(FIGURES, commands_total=FIGURES["commands_total"] - 30)

    assert growth((10.0, before), FIGURES, 12.0)["commands_total"] == 15.0
    assert growth((10.0, dict(before, boot_id="another")), FIGURES, 12.0) == {}
    assert growth(None, FIGURES, 12.0) == {}
    assert growth((10.0, before), None, 12.0) == {}


def test_commands_of_clients_are_what_their_seqs_grew_by():
    before = {4: 100, 5: 7}

    found = commands_of(before, {3: 9000, 4: 110, 5: 7, 6: 2})

    assert found == {4: 10, 6: 2}  # 3 was not looked at before, and 6 is new
