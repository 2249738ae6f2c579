"""The settings, and where each comes from: flags, then `LULUDB_*`, `luludb.toml`, defaults."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from luludb.errors import StartRefused
from luludb.home import Home

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a daemon runs with.

    Attributes:
        durability: `normal` survives the death of any process, `full` power loss too.
        changes_kept_max: rows of `lulu_changes`; older ones are deleted.
        client_days_kept: days of the daemon's running time until an unused client is forgotten.
        wal_bytes_max: size of the write-ahead log at which the daemon refuses more.
        log_level: `debug`, `info`, `warning` or `error`.
    """

    durability: str = "normal"
    changes_kept_max: int = 1_000_000
    client_days_kept: int = 7
    wal_bytes_max: int = 1 << 30
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting, and where its value comes from.

    Attributes:
        value: None where `problem` is set.
        source: `flag`, `environment`, `file` or `default`.
        overrides: further sources that set it to something, and are not used.
        problem: what is wrong with the value, and what is allowed.
    """

    name: str
    value: Any
    source: str
    overrides: tuple[str, ...] = ()
    problem: str | None = None


def load_settings(
    home: Home, flags: Mapping[str, Any], env: Mapping[str, str] = os.environ
) -> tuple[Settings, dict[str, str]]:
    """The settings for `home`, and for each its source: `flag`, `environment`, `file` or `default`.

    Args:
        home: its `luludb.toml` is read if it is there.
        flags: by name; None stands for a flag not given.

    Raises:
        StartRefused: a value is not allowed, or the file has a key that is not known.
    """
    explained, problems = explain_settings(home, flags, env)
    if problems:
        raise StartRefused(problems[0])
    settings = Settings(**{each.name: each.value for each in explained})
    return settings, {each.name: each.source for each in explained}


def explain_settings(
    home: Home, flags: Mapping[str, Any], env: Mapping[str, str] = os.environ
) -> tuple[list[Explained], list[str]]:
    """Each setting by itself, also where another one is wrong, and everything that is wrong."""
    file, problems = _read_file(home)
    explained = [_explained(field, home, flags, env, file) for field in fields(Settings)]
    return explained, problems + [each.problem for each in explained if each.problem]


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"LULUDB_{name.upper()}"


def _explained(
    field: Field[Any],
    home: Home,
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    file: Mapping[str, Any],
) -> Explained:
    name = field.name
    given = [
        (source, where, value)
        for source, where, value in (
            ("flag", f"--{name.replace('_', '-')}", flags.get(name)),
            ("environment", variable_of(name), env.get(variable_of(name)) or None),
            ("file", f"{name} in {home.settings}", file.get(name)),
        )
        if value is not None
    ]
    if not given:
        return Explained(name, field.default, "default")
    source, where, value = given[0]
    overrides = tuple(other for other, _, _ in given[1:])
    checked = _CHECKS[name](value)
    if checked is None:
        problem = f"{where} is {value!r}; allowed is {ALLOWED[name]}"
        return Explained(name, None, source, overrides, problem)
    return Explained(name, checked, source, overrides)


def _read_file(home: Home) -> tuple[dict[str, Any], list[str]]:
    """What the file sets, and what is wrong with it."""
    try:
        with home.settings.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as error:
        return {}, [f"{home.settings} cannot be read: {error}"]
    unknown = sorted(set(found) - set(_CHECKS))
    known = {name: value for name, value in found.items() if name in _CHECKS}
    return known, [
        f"{home.settings} has {name}; known settings are {', '.join(_CHECKS)}" for name in unknown
    ]


def _one_of(*allowed: str) -> Callable[[Any], str | None]:
    return lambda value: str(value) if value in allowed else None


def _count(value: Any) -> int | None:
    text = str(value).replace("_", "")
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,15}", text):
        return None
    return int(text) or None


def _bytes(value: Any) -> int | None:
    match = re.fullmatch(r"([0-9]{1,15}) ?([a-zA-Z]*)", str(value).replace("_", ""))
    if isinstance(value, bool) or match is None or match[2].lower() not in _UNITS:
        return None
    return int(match[1]) * _UNITS[match[2].lower()] or None


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "durability": _one_of("normal", "full"),
    "changes_kept_max": _count,
    "client_days_kept": _count,
    "wal_bytes_max": _bytes,
    "log_level": _one_of("debug", "info", "warning", "error"),
}
"""The value as the daemon takes it, by name; None where it is not allowed."""

ALLOWED: Mapping[str, str] = {
    "durability": "normal or full",
    "changes_kept_max": "a whole number from 1",
    "client_days_kept": "a whole number from 1",
    "wal_bytes_max": "a number of bytes, or one with KiB, MiB or GiB",
    "log_level": "debug, info, warning or error",
}
"""What each setting may be, in words."""
