"""docs/reference.md holds every command, option, setting, figure, error code and limit."""

from dataclasses import fields

import click
import pytest

from luludb import limits
from luludb.admin.meanings import MEANINGS, figure_names
from luludb.cli import exits
from luludb.cli.root import luludb
from luludb.errors import WIRE_CODES
from luludb.settings import Settings
from scripts.reference.commands import walk
from scripts.reference.limits import MET, read_limits
from scripts.reference.page import PAGE, page_text
from scripts.reference.words import ADVICE, ALLOWED, EXITS, error_classes

COMMANDS = dict(walk(luludb, "luludb"))
OPTIONS = [
    pytest.param(option, id=f"{' '.join(path)} {option.opts[-1]}")
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
]
BOUNDS = [name for name in vars(limits) if name.isupper()]


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_program_says_now(page):
    assert page == page_text(), "write it anew: scripts/reference/run"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_in_the_page_and_has_a_help_text(page, path):
    assert f"### {' '.join(path)}\n" in page
    assert COMMANDS[path].help


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_in_the_page_and_has_a_help_text(page, option):
    for name in (*option.opts, *option.secondary_opts):
        assert f"`{name}" in page
    assert option.help


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_takes_the_common_options(path):
    names = {parameter.name for parameter in COMMANDS[path].params}

    assert {"home", "timeout"} <= names


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_help_is_wider_than_a_terminal_of_80_columns(path):
    context = click.Context(COMMANDS[path], info_name=" ".join(path), terminal_width=80)

    assert [line for line in COMMANDS[path].get_help(context).splitlines() if len(line) > 80] == []


def test_every_setting_is_in_the_page_with_its_key_variable_and_what_is_allowed(page):
    names = [field.name for field in fields(Settings)]

    assert list(ALLOWED) == names
    for name in names:
        assert f"| `{name}` | `LULUDB_{name.upper()}` |" in page


def test_every_figure_is_in_the_page(page):
    for meaning in MEANINGS:
        for name in figure_names(meaning):
            assert f"`{name}`" in page
        assert meaning.sentence in page


def test_every_error_code_is_in_the_page_with_what_to_do(page):
    codes = {each.code for each in error_classes()}

    assert set(WIRE_CODES) <= codes
    assert set(ADVICE) == codes
    for code in codes:
        assert f"| `{code}` |" in page


def test_every_exit_code_is_in_the_page(page):
    codes = {
        value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)
    }

    assert {int(code) for code, _ in EXITS} == {0, *codes}
    for code in codes:
        assert f"| {code} | " in page


@pytest.mark.parametrize("name", BOUNDS)
def test_every_limit_is_in_the_page(page, name):
    assert page.count(f"| `{name}` |") == 1


def test_the_limits_are_those_of_the_file():
    found = read_limits()

    assert [limit.name for limit in found] == BOUNDS
    assert set(MET) <= set(BOUNDS)
    assert next(x.comment for x in found if x.name == "BATCH_COMMANDS_MAX").startswith("a frame is")
