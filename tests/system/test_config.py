"""`luludb config`: each setting, its source, and what is wrong with it."""

import json

import pytest

from luludb.home import find_home
from tests.system.command_line import luludb


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "with space ñ%"
    path.mkdir()
    return path


def settings_of(result):
    return {each["name"]: each for each in json.loads(result.stdout)["settings"]}


def test_each_setting_has_its_value_source_variable_and_what_it_may_be(home):
    (home / "luludb.toml").write_text('durability = "full"\nlog_level = "error"\n')

    result = luludb(home, "config", "--json", env={"LULUDB_LOG_LEVEL": "debug"})

    assert (result.returncode, result.stderr) == (0, b"")
    found = settings_of(result)
    assert (found["durability"]["value"], found["durability"]["source"]) == ("full", "file")
    assert found["log_level"]["value"] == "debug"
    assert (found["log_level"]["source"], found["log_level"]["overrides"]) == (
        "environment",
        ["file"],
    )
    assert found["wal_bytes_max"] == {
        "name": "wal_bytes_max",
        "value": 1 << 30,
        "source": "default",
        "overrides": [],
        "problem": None,
        "variable": "LULUDB_WAL_BYTES_MAX",
        "allowed": "a number of bytes, or one with KiB, MiB or GiB",
        "default": 1 << 30,
    }


def test_it_says_which_home_and_why(home):
    by_variable = json.loads(luludb(home, "config", "--json").stdout)
    by_flag = json.loads(luludb("/else", "config", "--json", "--home", str(home)).stdout)
    by_default = json.loads(luludb("", "config", "--json").stdout)

    assert (by_variable["home"], by_variable["home_from"]) == (str(home), "LULUDB_HOME")
    assert by_variable["file"] == str(home / "luludb.toml")
    assert by_variable["file_exists"] is False
    assert (by_flag["home"], by_flag["home_from"]) == (str(home), "--home")
    assert by_default["home"] == str(find_home(None, {}).path)


def test_whatever_is_wrong_is_shown_with_the_reason_and_the_rest_beside_it(home):
    (home / "luludb.toml").write_text('speed = 3\ndurability = "fast"\nclient_days_kept = 9\n')

    result = luludb(home, "config", "--json")

    found = settings_of(result)
    assert result.returncode == 1
    assert found["client_days_kept"]["value"] == 9
    assert found["durability"]["value"] is None
    lines = result.stderr.decode().splitlines()
    assert len(lines) == len(json.loads(result.stdout)["problems"]) == 2
    assert "has speed; known settings are" in lines[0]
    assert "is 'fast'; allowed is normal or full" in lines[1]


def test_a_file_that_cannot_be_read_is_told_without_a_traceback(home):
    (home / "luludb.toml").write_bytes(b"\xff = ")

    result = luludb(home, "config")

    assert result.returncode == 1
    assert b"luludb.toml cannot be read" in result.stderr
    assert b"Traceback" not in result.stderr
    assert b"durability\tnormal\tdefault\tLULUDB_DURABILITY\n" in result.stdout
