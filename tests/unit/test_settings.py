"""The settings: flags beat the environment, that the file, and that the defaults."""

import pytest

from luludb.errors import StartRefused
from luludb.home import Home
from luludb.settings import Settings, load_settings

DEFAULTS = {
    "durability": "normal",
    "changes_kept_max": 1_000_000,
    "client_days_kept": 7,
    "wal_bytes_max": 1 << 30,
    "log_level": "info",
}
OTHERS = {
    "durability": ("full", "normal", "full"),
    "changes_kept_max": ("1", "2", "3"),
    "client_days_kept": ("1", "2", "3"),
    "wal_bytes_max": ("1", "2", "3"),
    "log_level": ("debug", "warning", "error"),
}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_the_defaults_are_those_that_are_promised(home):
    settings, sources = load_settings(home, {}, {})

    assert settings == Settings(**DEFAULTS)
    assert sources == dict.fromkeys(DEFAULTS, "default")


@pytest.mark.parametrize("name", DEFAULTS)
def test_flag_beats_environment_beats_file_beats_default(home, name):
    flag, variable, written = OTHERS[name]
    env = {f"LULUDB_{name.upper()}": variable}

    def found(flags, env):
        settings, sources = load_settings(home, flags, env)
        return str(getattr(settings, name)), sources[name]

    assert found({}, env) == (variable, "environment")
    home.settings.write_text(f'{name} = "{written}"')
    assert found({}, {}) == (written, "file")
    assert found({}, env) == (variable, "environment")
    assert found({name: flag}, env) == (flag, "flag")
    assert found({name: None}, env) == (variable, "environment")


def test_an_empty_variable_counts_as_not_set(home):
    assert load_settings(home, {}, {"LULUDB_DURABILITY": ""})[0].durability == "normal"


@pytest.mark.parametrize(
    ("text", "bytes_max"),
    [
        ("1", 1),
        ("1000000", 1_000_000),
        ("1_000_000", 1_000_000),
        ("64KiB", 64 << 10),
        ("256 MiB", 256 << 20),
        ("2GiB", 2 << 30),
        ("2gib", 2 << 30),
    ],
)
def test_bytes_may_have_a_unit(home, text, bytes_max):
    assert load_settings(home, {}, {"LULUDB_WAL_BYTES_MAX": text})[0].wal_bytes_max == bytes_max


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("durability", "most"),
        ("durability", "FULL"),
        ("changes_kept_max", "0"),
        ("changes_kept_max", "-1"),
        ("changes_kept_max", "1.5"),
        ("changes_kept_max", "many"),
        ("client_days_kept", "0"),
        ("client_days_kept", "9" * 16),
        ("client_days_kept", "٣"),
        ("wal_bytes_max", "0"),
        ("wal_bytes_max", "1GB"),
        ("wal_bytes_max", "-1"),
        ("log_level", "loud"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_naming_its_source(home, name, text):
    variable = f"LULUDB_{name.upper()}"

    with pytest.raises(StartRefused, match=f"{variable} is '{text}'; allowed"):
        load_settings(home, {}, {variable: text})


@pytest.mark.parametrize(
    "text",
    [
        "durability = 1",
        "changes_kept_max = true",
        "changes_kept_max = 1.5",
        "wal_bytes_max = []",
        "colour = 'red'",
        "[durability]",
        "durability",
        "durability = 'full",
        "\xff",
    ],
)
def test_a_file_that_is_not_allowed_is_refused_naming_it(home, text):
    home.settings.write_bytes(text.encode("latin-1"))

    with pytest.raises(StartRefused, match=r"luludb\.toml"):
        load_settings(home, {}, {})


def test_an_unknown_setting_is_refused_with_those_that_are_known(home):
    home.settings.write_text("colour = 'red'")

    with pytest.raises(StartRefused) as refused:
        load_settings(home, {}, {})

    for name in ("colour", *DEFAULTS):
        assert name in refused.value.message
