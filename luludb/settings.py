"""The settings, and where each comes from: flags, then `LULUDB_*`, `luludb.toml`, defaults."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
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
    file = _read_file(home)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in fields(Settings):
        name = field.name
        variable = f"LULUDB_{name.upper()}"
        for source, where, value in (
            ("flag", f"--{name.replace('_', '-')}", flags.get(name)),
            ("environment", variable, env.get(variable) or None),
            ("file", f"{name} in {home.settings}", file.get(name)),
        ):
            if value is not None:
                values[name] = _checked(name, value, where)
                sources[name] = source
                break
        else:
            sources[name] = "default"
    return Settings(**values), sources


def _read_file(home: Home) -> dict[str, Any]:
    try:
        with home.settings.open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StartRefused(f"{home.settings} cannot be read: {error}") from error
    unknown = sorted(set(found) - set(_CHECKS))
    if unknown:
        raise StartRefused(
            f"{home.settings} has {unknown[0]}; known settings are {', '.join(_CHECKS)}"
        )
    return found


def _checked(name: str, value: Any, where: str) -> Any:
    try:
        return _CHECKS[name](value)
    except ValueError as error:
        raise StartRefused(f"{where} is {value!r}; {error}") from error


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"allowed are {', '.join(allowed)}")
        return str(value)

    return check


def _count(value: Any) -> int:
    text = str(value).replace("_", "")
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise ValueError("allowed is a whole number from 1")
    return int(text)


def _bytes(value: Any) -> int:
    match = re.fullmatch(r"([0-9]{1,15}) ?([a-zA-Z]*)", str(value).replace("_", ""))
    if (
        isinstance(value, bool)
        or match is None
        or match[2].lower() not in _UNITS
        or int(match[1]) < 1
    ):
        raise ValueError("allowed is a number of bytes, or one with KiB, MiB or GiB")
    return int(match[1]) * _UNITS[match[2].lower()]


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "durability": _one_of("normal", "full"),
    "changes_kept_max": _count,
    "client_days_kept": _count,
    "wal_bytes_max": _bytes,
    "log_level": _one_of("debug", "info", "warning", "error"),
}
