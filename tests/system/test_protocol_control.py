"""The control requests of wire protocol 1: `ping`, `hello` and `status`."""

import pytest

from tests.peer import Answer, discovery

STATUS_FIGURES = """
version protocol pid uptime_s home database_id boot_id schema_version sqlite_version durability
first_rev last_rev clients connections commands_total commands_refused_total duplicates_total
batches_total batch_commands_p50 batch_commands_p99 batch_commands_max commit_ms_p50 commit_ms_p99
commit_ms_max queue_wait_ms_p50 queue_wait_ms_p99 queue_wait_ms_max wal_bytes checkpoints_total
last_checkpoint foreign_writer_waits_total dropped_frames_total open_files rss_bytes
"""


HELLO_FIGURES = """
registered version protocol pid boot_id database_id schema_version durability last_seq last_rev
"""


def test_ping_is_answered_with_an_empty_map_and_without_hello(daemon, connect):
    stranger = connect(daemon.home, hello=False)

    assert stranger.control("ping") == Answer(0, 0, {})


def test_hello_tells_who_serves_and_where_the_client_stands(daemon, connect):
    peer = connect(daemon.home, hello=False)
    found = discovery(daemon.home)

    first, second = peer.hello(), peer.hello()

    assert set(first) == set(HELLO_FIGURES.split())
    assert (first["registered"], second["registered"]) == (True, False)
    assert first["protocol"] == found["protocol"] == 1
    assert first["pid"] == found["pid"] == daemon.pid
    assert first["boot_id"] == found["boot_id"]
    assert first["version"] == found["version"]
    assert first["durability"] == "normal"
    assert type(first["schema_version"]) is int
    assert first["last_seq"] == second["last_seq"] == 0


def test_hello_tells_the_last_seq_and_the_last_rev(peer):
    rev = peer.done("session.create", {"name": "n", "working_dir": "/w"})["rev"]

    found = peer.hello()

    assert (found["last_seq"], found["last_rev"]) == (1, rev)


def test_hello_from_an_older_connection_finds_the_client_of_a_newer_one(daemon, peer, connect):
    peer.create_session()

    other = connect(daemon.home, peer.client_id, hello=False)

    assert other.hello()["registered"] is False
    assert other.hello()["last_seq"] == 1


def test_status_has_exactly_the_figures_that_are_promised(daemon, connect, rows):
    stranger = connect(daemon.home, hello=False)

    figures = stranger.status()

    assert set(figures) == set(STATUS_FIGURES.split())
    assert all(type(value) in (int, float, str, type(None)) for value in figures.values())
    assert figures["pid"] == daemon.pid
    assert figures["home"] == str(daemon.home)
    assert figures["boot_id"] == discovery(daemon.home)["boot_id"]
    meta = dict(rows(daemon.home, "SELECT key, value FROM lulu_meta"))
    for key in ("database_id", "first_rev", "last_rev"):
        assert figures[key] == meta[key]
    assert (figures["schema_version"],) == rows(daemon.home, "PRAGMA user_version")[0]
    assert figures["open_files"] > 0
    assert figures["rss_bytes"] > 1_000_000


def test_status_counts_commands_refusals_repeats_batches_and_clients(daemon, peer, connect):
    before = peer.status()

    peer.create_session()
    peer.refused("message.delete", {"id": "none"})
    peer.exchange("message.delete", {"id": "none"}, seq=2, acked=1)
    connect(daemon.home)
    after = peer.status()

    grown = {key: after[key] - before[key] for key in before if key.endswith("_total")}
    assert grown["commands_total"] >= 2
    assert grown["commands_refused_total"] >= 1
    assert grown["duplicates_total"] == 1
    assert grown["batches_total"] >= 2
    assert after["clients"] == before["clients"] + 1
    assert after["connections"] == before["connections"] + 1
    assert after["last_rev"] == before["last_rev"] + 1
    assert 0 < after["commit_ms_p50"] <= after["commit_ms_p99"] <= after["commit_ms_max"]


@pytest.mark.parametrize("op", ["ping", "status", "hello"])
def test_a_control_request_takes_no_args(peer, op):
    answer = peer.control(op, {"depth": 1})

    assert (answer.status, answer.body["code"]) == (1, "invalid")


def test_control_requests_have_no_place_in_the_sequence(peer):
    peer.create_session()
    for _ in range(3):
        peer.control("ping")
        peer.control("status")

    assert peer.hello()["last_seq"] == 1
    assert peer.create_session()
