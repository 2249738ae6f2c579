"""Lines that anyone could cause many of are logged once a minute, and quote nothing."""

import logging

import pytest

from luludb.daemon.seldom import SeldomLog, described
from luludb.errors import WIRE_CODES
from luludb.limits import LOGGED_AGAIN_S


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seldom(clock, caplog):
    caplog.set_level(logging.DEBUG)
    return SeldomLog(logging.getLogger("test"), clock)


def test_the_first_of_a_kind_is_logged_and_the_others_of_the_minute_are_counted(
    seldom, clock, caplog
):
    for _ in range(1000):
        seldom.log(logging.INFO, "a", "it happened")
    seldom.log(logging.INFO, "b", "another thing")
    clock.now_s += LOGGED_AGAIN_S
    seldom.log(logging.INFO, "a", "it happened")
    clock.now_s += LOGGED_AGAIN_S
    seldom.log(logging.INFO, "a", "it happened")

    assert caplog.messages == [
        "it happened",
        "another thing",
        "it happened (999 more like this since the last such line)",
        "it happened",
    ]


@pytest.mark.parametrize("code", WIRE_CODES)
def test_every_refusal_is_told_of(seldom, caplog, code):
    seldom.refused(code, "why")

    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"refused as {code}")


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("overloaded", logging.WARNING),
        ("busy", logging.WARNING),
        ("disk_full", logging.WARNING),
        ("unsupported_protocol", logging.WARNING),
        ("internal", logging.ERROR),
        ("invalid", logging.INFO),
        ("stale_connection", logging.DEBUG),
    ],
)
def test_a_refusal_is_told_of_as_loud_as_it_is_of_use(seldom, caplog, code, level):
    seldom.refused(code, "why")

    assert [record.levelno for record in caplog.records] == [level]


@pytest.mark.parametrize("code", ["invalid", "not_found", "already_exists", "internal"])
def test_a_message_that_may_quote_what_was_sent_is_not_logged(seldom, caplog, code):
    seldom.refused(code, "content is 'secret'")

    assert "secret" not in caplog.text


def test_an_exception_is_described_by_its_type_and_its_places_alone():
    def fail():
        raise ValueError("secret")

    try:
        fail()
    except ValueError as error:
        found = described(error)

    assert found.startswith("ValueError at test_seldom.py:")
    assert found.endswith(" fail")
    assert "secret" not in found
