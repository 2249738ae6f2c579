"""docs/doctor.md has every check, and docs/configuration.md every setting."""

import ast
import re
from dataclasses import fields

import pytest

from luludb.home import Home
from luludb.settings import ALLOWED, Settings, load_settings, variable_of
from tests.conftest import ROOT

DOCTOR = ROOT / "luludb" / "admin" / "doctor"


def names_of_checks():
    """The second argument of each `Finding` that is made."""
    for path in sorted(DOCTOR.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("Finding"), args=[_, ast.Constant(value=name), *_]):
                    yield name
                case ast.Call(func=ast.Name("Finding")):
                    pytest.fail(f"the name of a check in {path.name} is not written out")


def test_every_check_is_documented_and_no_other():
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")

    documented = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)

    assert sorted(documented) == sorted(set(names_of_checks()))


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_documented_with_its_default_its_variable_and_what_it_may_be(
    setting, tmp_path
):
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    (row,) = re.findall(rf"^\| `{setting.name}` \|(.*)\|$", text, re.MULTILINE)
    default, allowed, variable = (cell.strip() for cell in row.split(" | "))

    env = {variable_of(setting.name): default.strip("`")}
    found, _ = load_settings(Home(tmp_path), {}, env)
    assert getattr(found, setting.name) == setting.default
    assert allowed.replace("`", "") == ALLOWED[setting.name]
    assert variable == f"`{variable_of(setting.name)}`"
    assert f"- **`{setting.name}`**" in text


def test_the_file_shown_is_one_that_a_daemon_takes(tmp_path):
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "luludb.toml").write_text(example)

    settings, sources = load_settings(Home(tmp_path), {}, {})

    assert (settings.durability, settings.wal_bytes_max) == ("full", 256 << 20)
    assert "file" in sources.values()
