"""Status figures as OpenMetrics text, read by Prometheus' own parser."""

from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from luludb.admin.meanings import MEANINGS, Kind, figure_names
from luludb.admin.metrics import metrics_text

NUMBERS = {
    name: number
    for number, name in enumerate(
        (name for meaning in MEANINGS for name in figure_names(meaning)), 1
    )
}
FIGURES = {
    **NUMBERS,
    "version": "1.2.3",
    "home": 'a "home" of\ntwo \\n lines, ü',
    "durability": "full",
    "last_checkpoint": "2026-01-02T03:04:05.000006+00:00",
    "commit_ms_p50": 0.025,
    "commit_ms_max": 1500.0,
}


def families(figures):
    return {family.name: family for family in text_string_to_metric_families(metrics_text(figures))}


def samples(figures):
    return {
        (sample.name, sample.labels.get("quantile")): sample.value
        for family in families(figures).values()
        for sample in family.samples
    }


def test_it_ends_with_eof():
    assert metrics_text(FIGURES).endswith("\n# EOF\n")


def test_every_figure_is_there():
    found = samples(FIGURES)

    numbers = [m for m in MEANINGS if m.kind is not Kind.LABEL]
    count = sum(len(figure_names(meaning)) for meaning in numbers)
    assert len(found) == count + 1  # and one that says what runs


def test_what_runs_is_in_labels_whatever_characters_the_home_has():
    info = families(FIGURES)["luludb_daemon"]

    assert info.type == "info"
    assert info.samples[0].labels["home"] == FIGURES["home"]
    assert info.samples[0].labels["pid"] == str(FIGURES["pid"])


def test_counters_gauges_and_summaries_have_their_types():
    found = families(FIGURES)

    assert found["luludb_commands"].type == "counter"
    assert found["luludb_connections"].type == "gauge"
    assert found["luludb_batch_commands"].type == "summary"
    assert samples(FIGURES)["luludb_commands_total", None] == FIGURES["commands_total"]


def test_milliseconds_become_seconds_and_the_name_ends_in_the_unit():
    found = samples(FIGURES)

    assert found["luludb_commit_seconds", "0.5"] == pytest.approx(0.000025)
    assert found["luludb_commit_seconds", "1"] == 1.5
    assert found["luludb_uptime_seconds", None] == FIGURES["uptime_s"]
    units = {name: family.unit for name, family in families(FIGURES).items() if family.unit}
    assert set(units.values()) == {"seconds", "bytes"}
    assert all(name.endswith(f"_{unit}") for name, unit in units.items())


def test_a_time_becomes_seconds_since_1970():
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp()

    assert samples(FIGURES)["luludb_last_checkpoint_timestamp_seconds", None] == moment


def test_what_is_not_known_is_left_out():
    found = families({"version": "1", "last_checkpoint": None, "of_a_later_version": 3})

    assert "luludb_last_checkpoint_timestamp_seconds" not in found
    assert "luludb_commands" not in found
    assert found["luludb_daemon"].samples[0].labels == {"version": "1"}
