"""Times as luludb writes them, and which others it takes."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb.errors import InvalidRequest
from luludb.times import canonical_time, now_text

CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def test_now_is_canonical_and_now():
    before, text, after = datetime.now(UTC), now_text(), datetime.now(UTC)

    assert CANONICAL.fullmatch(text)
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(text)
    assert datetime.fromisoformat(text) <= after + timedelta(milliseconds=1)
    assert canonical_time(text) is text


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02t03:04:05z", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02 03:04:05+00:00", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02T03:04:05-00:00", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.100000+00:00"),
        ("2026-01-02T03:04:05.1234567891Z", "2026-01-02T03:04:05.123456+00:00"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00.000000+00:00"),
        ("2026-01-02T03:04:05.000006+05:45", "2026-01-01T21:19:05.000006+00:00"),
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000000+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000+00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_time_with_an_offset_becomes_utc(given, canonical):
    assert canonical_time(given) == canonical
    assert canonical_time(canonical) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05+0100",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05,5Z",
        "2026-1-2T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "2026-13-01T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+01:60",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:60Z",
        "20260102T030405Z",
        "2026-W01-1T00:00:00Z",
        " 2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z\n",
        "２０２６-01-02T03:04:05Z",
        "2026-01-02T03:04:05.000006+00:00Z",
        "2026-02-29T03:04:05.000006+00:00",
        "2026-02-30T03:04:05.000006+00:00",
        "2026-04-31T03:04:05.000006+00:00",
        "2026-11-31T03:04:05.000006+00:00",
        "2026-00-01T03:04:05.000006+00:00",
        "2026-01-00T03:04:05.000006+00:00",
        "2026-01-32T03:04:05.000006+00:00",
        "2026-13-01T03:04:05.000006+00:00",
        "2026-01-02T24:04:05.000006+00:00",
        "2026-01-02T03:60:05.000006+00:00",
        "2026-01-02T03:04:60.000006+00:00 ",
        "0000-01-01T00:00:00.000000+00:00",
        "2026-01-02T03:04:05.000006+00:00\n",
        "2026-01-02T03:04:05.00000６+00:00",
    ],
)
def test_anything_else_is_invalid(text):
    with pytest.raises(InvalidRequest, match="RFC 3339"):
        canonical_time(text)


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_any_moment_stays_the_same_moment(moment, offset_minutes):
    moment = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))

    found = canonical_time(moment.isoformat())

    assert CANONICAL.fullmatch(found)
    assert datetime.fromisoformat(found) == moment


@given(st.datetimes() | st.dates().map(lambda day: datetime(day.year, day.month, day.day)))
def test_a_canonical_time_stays_as_it_is(moment):
    text = moment.replace(tzinfo=UTC).isoformat(timespec="microseconds")

    assert canonical_time(text) == text


def test_each_day_of_a_leap_year_and_no_other_is_a_day():
    for month in range(14):
        for day in range(34):
            text = f"2024-{month:02d}-{day:02d}T00:00:00.000000+00:00"
            try:
                datetime.fromisoformat(text)
            except ValueError:
                with pytest.raises(InvalidRequest):
                    canonical_time(text)
            else:
                assert canonical_time(text) == text


@given(st.text(max_size=40) | st.from_regex(r"[0-9TtZz:+. -]{0,40}"))
def test_any_text_is_canonical_or_invalid(text):
    try:
        assert CANONICAL.fullmatch(canonical_time(text))
    except InvalidRequest as error:
        assert len(error.message) < 1000
