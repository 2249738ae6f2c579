"""Checks of the doctor on states that no test can make: old libraries, other machines' disks."""

import sqlite3

import pytest

from luludb.admin.doctor import database, place, service, serving
from luludb.admin.doctor.inspection import Inspection
from luludb.admin.doctor.situation import Awaited, look_at
from luludb.admin.service.program import program_of
from luludb.admin.service.unit import service_unit
from luludb.home import Home
from luludb.limits import CLIENTS_IN_MEMORY_MAX, FREE_PAGES_BYTES_MIN


@pytest.fixture
def situation(tmp_path):
    return look_at(Home(tmp_path), timeout_s=0.1, env={})


def levels(findings):
    return [str(each.level) for each in findings]


@pytest.mark.parametrize(
    ("library", "level"),
    [("3.51.2", "problem"), ("3.7.0", "problem"), ("3.51.3", "ok"), ("3.54.1", "ok")],
)
def test_a_library_that_the_daemon_refuses_is_a_problem(situation, monkeypatch, library, level):
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.51.3")

    assert levels(database.check_sqlite(situation, Inspection(library=library))) == [level]


def test_an_old_sqlite_that_only_reads_is_a_note(situation, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.40.1")

    (found,) = database.check_sqlite(situation, Inspection(library="3.54.1"))

    assert found.level == "note"
    assert "mode=ro" in found.found


@pytest.mark.parametrize("kind", ["nfs4", "9p", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_a_problem(situation, monkeypatch, kind):
    monkeypatch.setattr(place, "file_system_of", lambda _: kind)

    (found,) = place.check_file_system(situation)

    assert (found.level, kind in found.found) == ("problem", True)


def test_a_layer_of_a_container_is_a_note(situation, monkeypatch):
    monkeypatch.setattr(place, "file_system_of", lambda _: "overlay")

    assert levels(place.check_file_system(situation)) == ["note"]


def test_a_lock_that_keeps_from_reading_is_told_from_a_disk_that_does(situation):
    busy = Inspection(failure="database is locked", is_busy=True)
    broken = Inspection(failure="disk I/O error")

    assert [each.remedy.split()[0] for each in database.check_readable(situation, busy)] == ["lsof"]
    assert [each.remedy for each in database.check_readable(situation, broken)] == ["dmesg | tail"]


def test_more_clients_than_the_daemon_holds_in_memory_are_a_note(situation):
    few = Inspection(version=1, clients=CLIENTS_IN_MEMORY_MAX)
    many = Inspection(version=1, clients=CLIENTS_IN_MEMORY_MAX + 1)

    assert levels(database.check_ledger(situation, few)) == ["ok"]
    assert levels(database.check_ledger(situation, many)) == ["note"]


def test_free_pages_are_told_where_they_are_many_and_a_large_part(situation):
    def said(free_bytes, total_bytes):
        found = Inspection(free_bytes=free_bytes, total_bytes=total_bytes)
        return levels(database.check_free_pages(situation, found))

    assert said(FREE_PAGES_BYTES_MIN, 4 * FREE_PAGES_BYTES_MIN) == ["note"]
    assert said(FREE_PAGES_BYTES_MIN - 1, FREE_PAGES_BYTES_MIN) == []
    assert said(FREE_PAGES_BYTES_MIN, 5 * FREE_PAGES_BYTES_MIN) == []


def test_a_unit_as_it_is_installed_names_a_program_that_is_there(tmp_path):
    home = Home(tmp_path / "50% $HOME ñ")
    units = tmp_path / "systemd" / "user"
    units.mkdir(parents=True)
    text = service_unit(program_of(home), with_socket=False)
    (units / "luludb-0123abcd.service").write_text(text, encoding="utf-8")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}

    found = service.check_service(look_at(home, timeout_s=0.1, env=env))

    assert levels(found) == ["ok"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param('ExecStart=/bin/sh -c x --home "{unit_path}"', id="quoted"),
        pytest.param("ExecStart=/bin/sh -c x '--home' '{unit_path}'", id="single-quotes"),
        pytest.param('ExecStart=/bin/sh\nEnvironment="LULUDB_HOME={unit_path}"', id="environment"),
    ],
)
def test_a_unit_belongs_to_the_home_that_it_names(tmp_path, lines):
    home = tmp_path / "50% ñ home"
    home.mkdir()
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    unit = units / "luludb-0123abcd.service"
    text = lines.format(unit_path=str(home).replace("%", "%%"))
    unit.write_text(f"[Service]\n{text}\n", encoding="utf-8")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config")}

    def names(path):
        found = service.check_service(look_at(Home(path), timeout_s=0.1, env=env))
        return [unit.name in each.found for each in found]

    assert names(home) == [True]
    assert names(tmp_path) == []


# A systemctl that prints this for the service, and behind a blank line for its socket unit.
SYSTEMCTL = """#!/bin/sh
echo ActiveState={service}
echo UnitFileState=enabled
echo
echo ActiveState={socket}
"""


@pytest.fixture
def listened_at(tmp_path, monkeypatch):
    """`listened_at(service, socket)`: a situation whose units are in these states."""
    home = Home(tmp_path / "home")
    units = tmp_path / "systemd" / "user"
    for directory in (home.run, units, tmp_path / "bin"):
        directory.mkdir(parents=True)
    text = service_unit(program_of(home), with_socket=True)
    (units / "luludb-0123abcd.service").write_text(text, encoding="utf-8")
    (units / "luludb-0123abcd.socket").touch()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def situation(service, socket):
        script = tmp_path / "bin" / "systemctl"
        script.write_text(SYSTEMCTL.format(service=service, socket=socket))
        script.chmod(0o755)
        return look_at(home, timeout_s=0.1, env={"XDG_CONFIG_HOME": str(tmp_path)})

    return situation


@pytest.mark.parametrize("service", ["inactive", "failed"])
def test_where_systemd_listens_for_a_daemon_that_does_not_run_nobody_is_asked(listened_at, service):
    assert isinstance(listened_at(service, "active").answer, Awaited)


@pytest.mark.parametrize(
    "states",
    [("active", "active"), ("activating", "active"), ("inactive", "inactive")],
    ids=" ".join,
)
def test_otherwise_the_daemon_is_asked(listened_at, states):
    assert not isinstance(listened_at(*states).answer, Awaited)


def test_sockets_that_no_client_finds_are_told(listened_at):
    (found,) = serving.check_daemon(listened_at("inactive", "active"))

    assert (found.level, "daemon.json" in found.found) == ("warning", True)
    assert found.remedy.startswith("luludb service start ")
