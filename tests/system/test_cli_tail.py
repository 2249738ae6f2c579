"""`luludb tail` against a real daemon."""

import json
import os
import signal
import subprocess
import sys

import pytest

from luludb_client import Client
from tests.system.command_line import DEADLINE_S, luludb


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


@pytest.fixture
def client(home):
    with Client(home) as client:
        yield client


class Following:
    """`luludb tail --follow` in a process of its own; its lines as they come."""

    def __init__(self, home, *args) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "luludb", "tail", "--follow", *args],
            env={**os.environ, "LULUDB_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        return self.process.stdout.readline()

    def interrupt(self) -> tuple[int, str]:
        """End it as a person does; the exit code and what it complained of."""
        self.process.send_signal(signal.SIGINT)
        errors = self.process.communicate(timeout=DEADLINE_S)[1]
        return self.process.returncode, errors


def test_tail_shows_the_newest_changes_in_order_as_lines_parted_by_tabs(home, client):
    session = client.create_session("n", "/")
    messages = [client.append_message(session.id, "user", "x") for _ in range(20)]

    lines = luludb(home, "tail").stdout.decode().splitlines()

    fields = [line.split("\t") for line in lines]
    assert [int(each[0]) for each in fields] == list(range(12, 22))
    assert [each[2:] for each in fields] == [
        ["message.append", session.id, message.id] for message in messages[10:]
    ]


def test_tail_of_a_session_shows_its_changes_alone_and_needs_no_daemon(luludb_daemon, client):
    client.create_session("n", "/", id="s")
    client.create_session("n", "/", id="st")
    client.append_message("s", "user", "x")
    client.delete_session("s")
    luludb_daemon.stop()

    result = luludb(luludb_daemon.home, "tail", "s", "--json")

    found = json.loads(result.stdout)
    assert [(each["rev"], each["op"]) for each in found] == [
        (1, "session.create"),
        (3, "message.append"),
        (4, "session.delete"),
    ]
    assert set(found[0]) == {"rev", "op", "session_id", "message_id", "at"}


def test_tail_of_what_never_was_is_refused(home, tmp_path, client):
    client.create_session("n", "/", id="s")

    assert luludb(home, "tail", "nobody").returncode == 1
    assert luludb(tmp_path / "empty", "tail").returncode == 3
    assert json.loads(luludb(home, "tail", "--json").stdout)[0]["session_id"] == "s"


def test_tail_follows_each_change_once_across_a_restart_until_it_is_interrupted(
    luludb_daemon, client
):
    client.create_session("n", "/", id="s")
    client.create_session("n", "/", id="other")
    with Following(luludb_daemon.home, "s", "--json") as following:
        assert json.loads(following.line())["rev"] == 1
        client.append_message("s", "user", "x")
        assert json.loads(following.line())["rev"] == 3
        luludb_daemon.kill()
        luludb_daemon.start()
        client.append_message("other", "user", "x")
        client.append_message("s", "user", "x")
        assert json.loads(following.line())["rev"] == 5

        code, errors = following.interrupt()

    assert code == 130
    assert errors.strip() == ""


def test_tail_follows_a_database_that_is_not_there_yet(tmp_path):
    home = tmp_path / "home"
    with Following(home) as following:
        serve = subprocess.Popen(
            [sys.executable, "-m", "luludb", "serve", "--home", str(home)],
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(home, timeout_s=DEADLINE_S) as client:
                client.create_session("n", "/", id="s")
            assert following.line().split("\t")[2:] == ["session.create", "s", "\n"]
        finally:
            serve.terminate()
            serve.wait(DEADLINE_S)
