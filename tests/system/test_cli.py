"""The command line against a real daemon: what it prints, where, and how it ends."""

import json
import re
from pathlib import Path

import pytest

from tests.system.command_line import created, luludb, said

UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n")


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


def test_ping_says_that_the_daemon_answers(home):
    result = luludb(home, "ping")

    assert result.returncode == 0
    assert b"answered" in result.stdout


def test_ping_ends_with_3_at_once_where_there_is_no_daemon(tmp_path):
    result = luludb(tmp_path / "empty", "ping")

    assert result.returncode == 3
    assert said(result)


def test_status_as_json_is_one_object_of_figures(home):
    luludb(home, "session", "create", "one")

    figures = json.loads(luludb(home, "status", "--json").stdout)

    assert figures["home"] == str(home)
    assert figures["commands_total"] == 1


def test_status_elsewhere_than_on_a_terminal_is_a_line_for_each_figure(home):
    lines = luludb(home, "status").stdout.decode().splitlines()

    names = dict(line.split("\t") for line in lines)
    assert names["durability"] == "normal"
    assert "commit_ms_p99" in names


def test_session_create_prints_the_id_alone(home):
    result = luludb(home, "session", "create", "a name")

    assert result.returncode == 0
    assert UUID.fullmatch(result.stdout)
    assert result.stderr == b""


def test_a_session_is_created_in_the_current_directory_as_an_absolute_path(home):
    id = created(home, "a name")

    shown = json.loads(luludb(home, "session", "show", id, "--json").stdout)

    assert shown["working_dir"] == str(Path.cwd())
    assert list(shown) == ["id", "name", "status", "working_dir", "created_at", "updated_at"]


def test_session_create_as_json_is_the_session(home):
    result = luludb(
        home, "session", "create", "é", "--id", "s1", "--status", "running", "--working-dir", "/w",
        "--json",
    )  # fmt: skip

    session = json.loads(result.stdout)
    assert (session["id"], session["name"], session["status"]) == ("s1", "é", "running")
    assert session["working_dir"] == "/w"
    assert "é".encode() in result.stdout


def test_an_id_that_is_taken_is_refused_with_1(home):
    created(home, "first", "--id", "s1")

    result = luludb(home, "session", "create", "second", "--id", "s1")

    assert result.returncode == 1
    assert "s1" in said(result)


def test_sessions_are_listed_the_newest_first(home):
    ids = [created(home, f"session {number}") for number in range(3)]

    listed = json.loads(luludb(home, "session", "list", "--json").stdout)
    lines = luludb(home, "session", "list").stdout.decode().splitlines()

    assert [session["id"] for session in listed] == ids[::-1]
    assert [line.split("\t")[0] for line in lines] == ids[::-1]


def test_session_list_filters_limits_and_goes_on_behind_a_session(home):
    ids = [created(home, f"s {number}", "--status", f"st{number % 2}") for number in range(4)]

    def listed(*args):
        found = json.loads(luludb(home, "session", "list", "--json", *args).stdout)
        return [session["id"] for session in found]

    assert listed("--status", "st1") == [ids[3], ids[1]]
    assert listed("--limit", "2") == [ids[3], ids[2]]
    assert listed("--after", ids[2]) == [ids[1], ids[0]]
    assert listed("--working-dir", "/nowhere") == []


def test_session_update_changes_what_is_given(home):
    id = created(home, "before")

    result = luludb(home, "session", "update", id, "--name", "after", "--json")

    session = json.loads(result.stdout)
    assert (session["name"], session["status"]) == ("after", "created")


def test_session_update_of_nothing_is_wrong_usage(home):
    result = luludb(home, "session", "update", "some id")

    assert result.returncode == 2
    assert "--name" in said(result)


def test_session_delete_says_how_many_messages_went_with_it(home):
    id = created(home, "short-lived")
    luludb(home, "message", "append", id, "user", "hello")

    assert luludb(home, "session", "delete", id).stdout == b"deleted, with 1 message\n"
    assert luludb(home, "session", "show", id).returncode == 1
    assert luludb(home, "session", "delete", id).returncode == 1


def test_message_append_prints_the_id_alone(home):
    id = created(home, "s")

    result = luludb(home, "message", "append", id, "user", "hello")

    assert result.returncode == 0
    assert UUID.fullmatch(result.stdout)


def test_content_from_standard_input_is_kept_to_the_last_byte(home):
    id = created(home, "s")

    luludb(home, "message", "append", id, "tool", stdin="é\r\n\0 end\n\n".encode())

    (message,) = json.loads(luludb(home, "message", "list", id, "--json").stdout)
    assert message["content"] == "é\r\n\0 end\n\n"
    assert list(message) == ["id", "session_id", "role", "content", "timestamp"]


def test_standard_input_that_is_not_utf_8_is_wrong_usage(home):
    id = created(home, "s")

    result = luludb(home, "message", "append", id, "tool", stdin=b"ab\xff")

    assert result.returncode == 2
    assert "byte 2" in said(result)


def test_an_argument_that_is_not_utf_8_is_refused(home):
    id = created(home, "s")

    result = luludb(home, "message", "append", id, "tool", b"ab\xff")

    assert result.returncode == 1
    assert said(result)


def test_a_message_for_a_session_that_is_not_there_is_refused(home):
    result = luludb(home, "message", "append", "nowhere", "user", "hello")

    assert result.returncode == 1
    assert "nowhere" in said(result)


def test_the_last_messages_are_listed_in_the_order_of_their_append(home):
    id = created(home, "s")
    for number in range(3):
        luludb(home, "message", "append", id, "user", f"message {number}")

    lines = luludb(home, "message", "list", id, "--last", "2").stdout.decode().splitlines()

    assert [line.split("\t")[3] for line in lines] == ["message 1", "message 2"]


def test_messages_of_a_session_that_is_not_there_are_refused(home):
    assert luludb(home, "message", "list", "nowhere").returncode == 1


def test_control_characters_are_written_out_in_lists(home):
    id = created(home, "clear \x1b[2J\tscreen\n")
    luludb(home, "message", "append", id, "user", "bell \a\nand more")

    (session_line,) = luludb(home, "session", "list").stdout.decode().splitlines()
    (message_line,) = luludb(home, "message", "list", id).stdout.decode().splitlines()

    assert session_line.split("\t")[4] == r"clear \x1b[2J\tscreen\n"
    assert message_line.split("\t")[3] == r"bell \x07\nand more"


def test_reads_need_no_daemon(luludb_daemon):
    home = luludb_daemon.home
    id = created(home, "s")
    luludb(home, "message", "append", id, "user", "hello")
    luludb_daemon.stop()

    assert id.encode() in luludb(home, "session", "list").stdout
    assert luludb(home, "session", "show", id).returncode == 0
    assert b"hello" in luludb(home, "message", "list", id).stdout
    assert luludb(home, "export").stdout.count(b"\n") == 2


def test_a_write_without_a_daemon_ends_with_3_after_the_timeout(luludb_daemon):
    luludb_daemon.stop()

    result = luludb(luludb_daemon.home, "--timeout", "0.2", "session", "create", "s")

    assert result.returncode == 3
    assert said(result)


def test_home_and_timeout_are_taken_before_and_after_the_command(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"

    for args in (
        ("--home", str(home), "session", "list"),
        ("session", "--home", str(home), "list"),
        ("session", "list", "--home", str(home), "--timeout", "1"),
        ("--home", str(elsewhere), "session", "list", "--home", str(home)),
    ):
        assert luludb(elsewhere, *args).returncode == 0


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(("sessions",), id="unknown-command"),
        pytest.param(("session", "create"), id="argument-missing"),
        pytest.param(("session", "list", "--limit", "0"), id="limit-zero"),
        pytest.param(("ping", "--timeout", "0"), id="timeout-zero"),
        pytest.param(("ping", "--timeout", "soon"), id="timeout-no-number"),
        pytest.param(("ping", "--timeout", "nan"), id="timeout-nan"),
        pytest.param(("start", "--timeout", "inf"), id="timeout-infinite"),
        pytest.param(("serve", "--durability", "some"), id="unknown-durability"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path, args):
    result = luludb(tmp_path, *args)

    assert result.returncode == 2
    assert said(result)


@pytest.mark.parametrize("args", [("session",), ("message",)])
def test_a_command_that_needs_another_shows_its_help_and_ends_with_2(tmp_path, args):
    result = luludb(tmp_path, *args)

    assert result.returncode == 2
    assert b"Commands:" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(tmp_path, shell):
    result = luludb(tmp_path, env={"_LULUDB_COMPLETE": f"{shell}_source"})

    assert b"_LULUDB_COMPLETE" in result.stdout
