"""Options that every command has: what is wrong with their values is told before anything runs."""

import click
import pytest

from luludb.cli.options import Target
from luludb.cli.root import luludb
from luludb.limits import CLIENT_TIMEOUT_S_MAX
from scripts.reference.commands import walk

COMMANDS = dict(walk(luludb, "luludb"))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "0", "-0.0", "1e300", "1000001"])
def test_a_timeout_that_no_call_could_wait_for_is_wrong_usage_of_every_command(path, text):
    with pytest.raises(click.UsageError) as caught:
        COMMANDS[path].make_context(path[-1], ["--timeout", text])

    assert caught.value.format_message() == (
        f"Invalid value for '--timeout': found {float(text)}; allowed is a number of seconds above"
        " 0 and up to 1,000,000"
    )


@pytest.mark.parametrize("text", ["1e-9", "0.5", "10", str(CLIENT_TIMEOUT_S_MAX)])
def test_any_other_number_is_the_timeout(text):
    target = Target()

    with luludb.make_context("luludb", ["--timeout", text, "ping"], obj=target):
        assert target.timeout_s == float(text)
