"""The status figures in the text format of OpenMetrics.

The format is that of openmetrics.io, version 1.0: base units, `_total` at the end of counters, and
an `# EOF`. Prometheus reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from luludb.admin.meanings import MEANINGS, PERCENTILES, Kind, Meaning

_PREFIX: Final = "luludb"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def metrics_text(figures: Mapping[str, Any]) -> str:
    """`figures`, the body of a status reply, as OpenMetrics text.

    What a daemon of another version does not tell is left out, and so is a checkpoint that was
    not made yet.
    """
    lines = [*_info(figures)]
    for meaning in MEANINGS:
        lines += _family(meaning, figures)
    return "\n".join((*lines, "# EOF", ""))


def _info(figures: Mapping[str, Any]) -> Iterator[str]:
    labels = ",".join(
        f'{meaning.name}="{str(figures[meaning.name]).translate(_ESCAPES)}"'
        for meaning in MEANINGS
        if meaning.kind is Kind.LABEL and meaning.name in figures
    )
    name = f"{_PREFIX}_daemon"
    yield from _head(name, "info", "", "What runs.")
    yield f"{name}_info{{{labels}}} 1"


def _family(meaning: Meaning, figures: Mapping[str, Any]) -> Iterator[str]:
    stem, unit = _base_name(meaning)
    value = figures.get(meaning.name)
    match meaning.kind:
        case Kind.PERCENTILES:
            yield from _head(stem, "summary", unit, f"{meaning.sentence} Of the last 60 s.")
            for end, quantile in PERCENTILES:
                value = figures.get(f"{meaning.name}_{end}")
                if value is not None:
                    yield f'{stem}{{quantile="{quantile}"}} {_number(value, meaning.unit)}'
        case Kind.COUNTER if value is not None:
            yield from _head(stem, "counter", unit, meaning.sentence)
            yield f"{stem}_total {_number(value, meaning.unit)}"
        case Kind.GAUGE if value is not None:
            yield from _head(stem, "gauge", unit, meaning.sentence)
            yield f"{stem} {_number(value, meaning.unit)}"
        case Kind.TIME if value is not None:
            yield from _head(stem, "gauge", unit, f"{meaning.sentence} Seconds since 1970.")
            yield f"{stem} {datetime.fromisoformat(value).timestamp():.6f}"


def _base_name(meaning: Meaning) -> tuple[str, str]:
    """A family's name, which ends in its unit, and the unit: seconds and bytes alone."""
    name = meaning.name.removesuffix("_total")
    for end in ("_ms", "_s", "_bytes"):
        name = name.removesuffix(end)
    unit = "seconds" if meaning.unit == "milliseconds" else meaning.unit
    if unit not in ("seconds", "bytes"):
        return f"{_PREFIX}_{name}", ""
    if meaning.kind is Kind.TIME:
        name = f"{name}_timestamp"
    return f"{_PREFIX}_{name}_{unit}", unit


def _head(name: str, kind: str, unit: str, sentence: str) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {sentence.translate(_ESCAPES)}"


def _number(value: Any, unit: str) -> str:
    if unit == "milliseconds":
        return format(float(value) / 1000, ".9g")
    return str(value)
