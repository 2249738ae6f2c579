"""What the options of every command take."""

import click
import pytest
from click.testing import CliRunner

from luludb.cli.options import Target, pass_target, target_options


@click.command
@target_options
@pass_target
def waiting(target: Target) -> None:
    click.echo(f"{target.timeout_s:g}")


@pytest.mark.parametrize(("value", "seconds"), [("0.5", "0.5"), ("30", "30"), ("1000000", "1e+06")])
def test_a_timeout_is_a_number_of_seconds(value, seconds):
    ended = CliRunner().invoke(waiting, ["--timeout", value])

    assert (ended.exit_code, ended.output) == (0, f"{seconds}\n")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1000001", "ten", ""])
def test_another_timeout_is_wrong_usage_and_says_what_is_allowed(value):
    ended = CliRunner().invoke(waiting, ["--timeout", value])

    assert ended.exit_code == 2
    assert f"'--timeout': {value!r}; allowed is a number of seconds above 0" in ended.output
