"""What is imported can be exported again, line for line, and nothing is added twice."""

import gzip
import json
import sqlite3
from contextlib import closing

import pytest

from luludb.limits import IMPORT_CHUNK_ROWS_MAX
from tests.system.command_line import luludb

TIME = "2026-01-02T03:04:05.000006+00:00"


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


def session(id, **changes):
    columns = {"name": "n", "status": "created", "working_dir": "/w"}
    times = {"created_at": TIME, "updated_at": TIME}
    return {"type": "session", "id": id, **columns, **times, **changes}


def message(id, session_id, **changes):
    columns = {"role": "user", "content": f"content of {id}", "timestamp": TIME}
    return {"type": "message", "id": id, "session_id": session_id, **columns, **changes}


def lines(*objects):
    return b"".join(json.dumps(item).encode() + b"\n" for item in objects)


def imported(home, *args, stdin=b""):
    """The exit code and the summary of an import."""
    result = luludb(home, "import", *args, "--json", stdin=stdin)
    return result.returncode, json.loads(result.stdout)


def exported(home, *args):
    result = luludb(home, "export", *args)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def status(home):
    return json.loads(luludb(home, "status", "--json").stdout)


def test_real_transcripts_come_out_as_they_went_in(home, data_directory):
    file = data_directory / "transcripts.jsonl"

    code, summary = imported(home, str(file))

    assert code == 0
    assert summary == {
        "sessions_added": 13,
        "messages_added": 272,
        "skipped": 0,
        "conflicts": 0,
        "refused": [],
    }
    assert luludb(home, "export").stdout == file.read_bytes()


def test_a_second_import_adds_nothing_and_says_so(home, data_directory):
    file = str(data_directory / "transcripts.jsonl")
    luludb(home, "import", file)

    code, summary = imported(home, file)
    said = luludb(home, "import", file).stdout.decode()

    assert code == 0
    assert (summary["sessions_added"], summary["messages_added"]) == (0, 0)
    assert summary["skipped"] == 285
    assert "added 0 sessions and 0 messages" in said
    assert "skipped 285 rows" in said


def test_lines_that_are_not_valid_are_refused_with_their_number_and_the_rest_is_there(home):
    data = (
        lines(session("s1"))
        + b"not json\n\n\xff\n"
        + lines(
            message("m1", "s1"),
            message("m2", "nowhere"),
            message("m3", "s1", timestamp="yesterday"),
            message("m4", "s1", role=""),
            {**message("m5", "s1"), "mood": "good"},
            message("m6", "s1"),
        )
    )

    code, summary = imported(home, "-", stdin=data)

    assert code == 1
    assert (summary["sessions_added"], summary["messages_added"]) == (1, 2)
    assert [(refusal["line"], refusal["code"]) for refusal in summary["refused"]] == [
        (2, "invalid"),
        (4, "invalid"),
        (6, "not_found"),
        (7, "invalid"),
        (8, "invalid"),
        (9, "invalid"),
    ]
    assert all(refusal["message"] for refusal in summary["refused"])
    assert [item["id"] for item in exported(home)] == ["s1", "m1", "m6"]


def test_a_lone_surrogate_refuses_its_line(home):
    code, summary = imported(home, "-", stdin=lines(session("s1", name="a\ud800"), session("s2")))

    assert code == 1
    assert [(refusal["line"], refusal["code"]) for refusal in summary["refused"]] == [
        (1, "invalid")
    ]
    assert summary["sessions_added"] == 1


def test_a_message_too_large_for_a_frame_refuses_its_line(home):
    large = message("m1", "s1", content="x" * 17_000_000)

    code, summary = imported(home, "-", stdin=lines(session("s1"), large, message("m2", "s1")))

    assert code == 1
    assert [(refusal["line"], refusal["code"]) for refusal in summary["refused"]] == [
        (2, "too_large")
    ]
    assert summary["messages_added"] == 1


def test_the_same_id_with_other_columns_is_a_conflict_and_left_as_it_is(home):
    imported(home, "-", stdin=lines(session("s1"), message("m1", "s1")))

    code, summary = imported(
        home,
        "-",
        stdin=lines(session("s1", status="done"), message("m1", "s1"), session("s2")),
    )

    assert code == 0
    assert (summary["conflicts"], summary["skipped"], summary["sessions_added"]) == (1, 1, 1)
    assert exported(home, "--session", "s1")[0]["status"] == "created"


def test_an_id_twice_in_one_file_is_added_once(home):
    twice = lines(session("s1"), session("s1"), session("s1", name="other"))

    _, summary = imported(home, "-", stdin=twice)

    assert (summary["sessions_added"], summary["skipped"], summary["conflicts"]) == (1, 1, 1)


def test_the_same_moment_in_another_form_is_the_same(home):
    zulu = lines(session("s1", created_at="2026-01-02T03:04:05Z"))
    offset = lines(session("s1", created_at="2026-01-02T05:04:05+02:00"))
    imported(home, "-", stdin=zulu)

    for data in (zulu, offset):
        _, summary = imported(home, "-", stdin=data)
        assert summary["skipped"] == 1

    assert exported(home)[0]["created_at"] == "2026-01-02T03:04:05.000000+00:00"


def test_at_most_twenty_refused_lines_are_shown(home):
    result = luludb(home, "import", "-", stdin=b"x\n" * 25)

    shown = result.stdout.decode()
    assert result.returncode == 1
    assert "line 20:" in shown
    assert "line 21:" not in shown
    assert "and 5 more" in shown


def test_an_import_without_a_daemon_ends_with_3_and_says_how_far_it_got(luludb_daemon):
    luludb_daemon.stop()

    result = luludb(
        luludb_daemon.home, "import", "-", "--timeout", "0.2", stdin=lines(session("s1"))
    )

    assert result.returncode == 3
    assert b"can be repeated" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_file_that_is_not_there_is_refused(home):
    result = luludb(home, "import", "/nowhere/at all")

    assert result.returncode == 1
    assert b"/nowhere/at all: No such file" in result.stderr


def test_packed_files_go_in_and_out_by_their_name(home, tmp_path):
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(lines(session("s1"), message("m1", "s1"))))
    out = tmp_path / "out.jsonl.gz"

    code, _ = imported(home, str(packed))
    result = luludb(home, "export", str(out))

    assert (code, result.returncode) == (0, 0)
    assert b"1 session and 1 message" in result.stdout
    assert gzip.decompress(out.read_bytes()) == gzip.decompress(packed.read_bytes())


def test_export_says_in_json_what_went_into_a_file(home, tmp_path):
    imported(home, "-", stdin=lines(session("s1"), message("m1", "s1")))

    result = luludb(home, "export", str(tmp_path / "out"), "--json")

    assert json.loads(result.stdout) == {"sessions": 1, "messages": 1}


def test_one_session_is_exported_with_its_messages_alone(home):
    data = lines(session("s1"), message("m1", "s1"), session("s2"), message("m2", "s2"))
    imported(home, "-", stdin=data)

    assert [item["id"] for item in exported(home, "--session", "s2")] == ["s2", "m2"]


def test_an_export_of_a_session_that_is_not_there_is_refused_and_leaves_no_file(home, tmp_path):
    out = tmp_path / "out"

    result = luludb(home, "export", str(out), "--session", "nowhere")

    assert result.returncode == 1
    assert list(tmp_path.glob("*out*")) == []


def test_an_export_that_fails_leaves_the_file_that_was_there(home, tmp_path):
    imported(home, "-", stdin=lines(session("s1"), message("m1", "s1", content="x" * 100_000)))
    out = tmp_path / "folder" / "out"

    result = luludb(home, "export", str(out))

    assert result.returncode == 1
    assert b"there is no directory" in result.stderr


def test_sessions_come_out_in_the_order_of_their_rows_whatever_their_ids(home):
    data = lines(session("z"), session("a"), message("2", "z"), message("1", "z"))
    imported(home, "-", stdin=data)

    assert [item["id"] for item in exported(home)] == ["z", "2", "1", "a"]


def test_more_sessions_than_a_page_holds_all_come_out(home):
    ids = [f"s{number:04d}" for number in range(1000)]
    imported(home, "-", stdin=lines(*map(session, ids)))

    assert [item["id"] for item in exported(home)] == ids


def test_a_sqlite_file_is_imported(home, tmp_path):
    file = tmp_path / "made elsewhere.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL,"
            " working_dir TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)"
        )
        connection.execute(
            "CREATE TABLE messages (id TEXT PRIMARY KEY, session_id TEXT NOT NULL,"
            " role TEXT NOT NULL, content TEXT NOT NULL, timestamp TEXT NOT NULL)"
        )
        for id in ("z", "a"):
            connection.execute(
                "INSERT INTO sessions VALUES (?, 'n', 'created', '/w', ?, ?)", (id, TIME, TIME)
            )
        for id, session_id in (("2", "a"), ("lost", "nowhere"), ("1", "z")):
            connection.execute(
                "INSERT INTO messages VALUES (?, ?, 'user', 'c', ?)", (id, session_id, TIME)
            )

    code, summary = imported(home, str(file))

    assert code == 1
    assert (summary["sessions_added"], summary["messages_added"]) == (2, 2)
    assert [(refusal["line"], refusal["code"]) for refusal in summary["refused"]] == [
        (5, "not_found")
    ]
    assert [item["id"] for item in exported(home)] == ["z", "1", "a", "2"]


def test_messages_keep_their_order_around_a_line_that_is_refused(home):
    ids = [f"m{number}" for number in range(3000)]
    rows = [message(id, "s1") for id in ids]
    rows[500] = message("m500", "nowhere")

    code, summary = imported(home, "-", stdin=lines(session("s1"), *rows))

    assert (code, summary["messages_added"]) == (1, 2999)
    assert [(refusal["line"], refusal["code"]) for refusal in summary["refused"]] == [
        (502, "not_found")
    ]
    ids.remove("m500")
    assert [item["id"] for item in exported(home)] == ["s1", *ids]


def test_an_import_that_was_cut_off_goes_on_when_it_is_repeated(home):
    data = [session("s1"), *(message(f"m{number}", "s1") for number in range(3000))]
    imported(home, "-", stdin=lines(*data[:1500]))

    code, summary = imported(home, "-", stdin=lines(*data))

    assert code == 0
    assert (summary["skipped"], summary["messages_added"]) == (1500, 1501)
    assert exported(home) == data


def test_an_import_that_is_repeated_does_not_send_all_of_it_again(home):
    data = lines(session("s1"), *(message(f"m{number}", "s1") for number in range(3000)))
    imported(home, "-", stdin=data)
    before = status(home)["commands_total"]

    _, summary = imported(home, "-", stdin=data)

    assert summary["skipped"] == 3001
    assert status(home)["commands_total"] - before <= 1 + IMPORT_CHUNK_ROWS_MAX


def test_a_large_message_among_others_is_added_in_its_place(home):
    large = message("m2", "s1", content="é" * 5_000_000)

    code, summary = imported(
        home, "-", stdin=lines(session("s1"), message("m1", "s1"), large, message("m3", "s1"))
    )

    assert (code, summary["messages_added"]) == (0, 3)
    assert [item["id"] for item in exported(home)] == ["s1", "m1", "m2", "m3"]


def test_half_of_a_surrogate_pair_in_an_id_refuses_its_line(home):
    code, summary = imported(home, "-", stdin=lines(session("s\ud800"), session("s2")))

    assert code == 1
    assert [refusal["line"] for refusal in summary["refused"]] == [1]
    assert summary["sessions_added"] == 1
