"""`luludb prune`: what goes, what stays, and that it can be ended and repeated at any time."""

import json
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from luludb.admin import prune as prune_module
from luludb.admin.choosing import Criteria, choose
from luludb.admin.prune import open_prune
from luludb.home import Home
from luludb.limits import PRUNE_MESSAGES_MAX
from luludb_client import Client
from luludb_client.replica import Replica
from tests.databases import damage, query
from tests.system.command_line import DEADLINE_S, luludb

OLD = "2020-01-02T03:04:05.000006+00:00"
OLDER = "2019-01-02T03:04:05.000006+00:00"
LONG = 3 * PRUNE_MESSAGES_MAX + 7


@pytest.fixture
def home(luludb_daemon):
    return luludb_daemon.home


def add(home, id, *, messages=2, status="done", at=OLD, last_at=None, working_dir="/w", **times):
    """A session with messages and times of its own, as an import brings it."""
    times = {"created_at": at, "updated_at": at, **times}
    with Client(home) as client:
        create = {"id": id, "name": id, "status": status, "working_dir": working_dir, **times}
        bodies = [client.submit("session.create", **create)]
        for number in range(messages):
            timestamp = last_at if last_at and number == messages - 1 else at
            message = {"id": f"{id}-{number}", "session_id": id, "timestamp": timestamp}
            content = f"content {number}"
            bodies.append(client.submit("message.append", role="user", content=content, **message))
        client.flush()
        for body in bodies:
            body.result()


def pruned(home, *args):
    """What `prune ARGS --json` printed."""
    result = luludb(home, "prune", *args, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def sessions(home):
    return [id for (id,) in query(home / "lulu.db", "SELECT id FROM sessions ORDER BY rowid")]


def messages(home):
    return query(home / "lulu.db", "SELECT rowid, * FROM messages ORDER BY rowid")


def test_without_yes_it_only_shows_what_would_go_and_how(home):
    add(home, "old", messages=3)
    add(home, "new", status="running")
    before = messages(home)

    result = luludb(home, "prune", "--status", "done")
    shown = result.stdout.decode()

    assert result.returncode == 0
    assert "would delete 1 session and 3 messages, about 0.0 MB" in shown
    assert "luludb prune --status done --yes" in shown
    assert pruned(home, "--status", "done") == {
        "applied": False,
        "sessions": 1,
        "messages": 3,
        "content_bytes": 3 * len("content 0"),
        "session_ids": ["old"],
    }
    assert (sessions(home), messages(home)) == (["old", "new"], before)


def test_the_command_it_names_deletes_them_and_nothing_else(home):
    add(home, "old", messages=3)
    add(home, "new", status="running")
    kept = [row for row in messages(home) if row[2] == "new"]

    shown = luludb(home, "prune", "--status", "done").stdout.decode()
    again = shlex.split(shown.rpartition("to delete them: ")[2])
    result = luludb(home, *again[1:], "--json")

    assert json.loads(result.stdout) == {
        "applied": True,
        "sessions": 1,
        "messages": 3,
        "left_alone": 0,
    }
    assert (sessions(home), messages(home)) == (["new"], kept)
    assert damage(home / "lulu.db") == []


def test_a_session_goes_only_if_all_that_is_given_fits(home):
    add(home, "a", at=OLD, status="done")
    add(home, "b", at=OLD, status="failed")
    add(home, "c", at=OLD, status="running")
    add(home, "d", at="2999-01-02T03:04:05.000006+00:00", status="done")

    found = pruned(home, "--older-than", "30d", "--status", "done", "--status", "failed")

    assert found["session_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    "young",
    [
        pytest.param({"updated_at": "2999-01-02T03:04:05.000006+00:00"}, id="updated"),
        pytest.param({"created_at": "2999-01-02T03:04:05.000006+00:00"}, id="created"),
        pytest.param({"last_at": "2999-01-02T03:04:05.000006+00:00"}, id="appended-to"),
    ],
)
def test_a_session_is_as_old_as_the_last_thing_that_happened_to_it(home, young):
    add(home, "used", **young)
    add(home, "unused")

    assert pruned(home, "--older-than", "52w")["session_ids"] == ["unused"]


def test_keep_spares_the_newest_of_each_working_directory(home):
    add(home, "a1", at=OLDER)
    add(home, "a2", at=OLD)
    add(home, "b1", at=OLDER, working_dir="/other")

    assert pruned(home, "--keep", "1")["session_ids"] == ["a1"]
    assert pruned(home, "--keep", "2")["session_ids"] == []
    assert pruned(home, "--keep", "0")["sessions"] == 3


def test_a_session_with_no_time_that_can_be_read_stays(home):
    add(home, "odd")
    write = "UPDATE sessions SET updated_at = 'yesterday'"
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2])"
    subprocess.run(
        [sys.executable, "-c", f"{program}; c.commit(); c.close()", str(home / "lulu.db"), write],
        check=True,
    )

    assert pruned(home, "--older-than", "1d")["session_ids"] == []
    assert pruned(home, "--status", "done")["session_ids"] == ["odd"]


def test_a_long_session_goes_in_pieces_from_its_oldest_message_on(home):
    add(home, "long", messages=LONG)

    found = pruned(home, "--status", "done", "--yes")
    feed = query(home / "lulu.db", "SELECT op, message_id FROM lulu_changes ORDER BY rev")

    assert (found["sessions"], found["messages"]) == (1, LONG)
    deletions = [row for row in feed if row[0].endswith("delete")]
    apart = 3 * PRUNE_MESSAGES_MAX
    assert deletions == [
        *(("message.delete", f"long-{number}") for number in range(apart)),
        ("session.delete", None),
    ]
    assert messages(home) == []


def test_a_prune_that_is_interrupted_says_how_far_it_came_and_can_be_repeated(home):
    add(home, "long", messages=20 * PRUNE_MESSAGES_MAX)
    args = [sys.executable, "-m", "luludb", "prune", "--status", "done", "--yes"]
    with Client(home) as client:
        changes = client.watch("long")
        running = subprocess.Popen([*args, "--home", str(home)], stderr=subprocess.PIPE)
        next(changes)
        running.send_signal(signal.SIGINT)
        errors = running.communicate(timeout=DEADLINE_S)[1]
        changes.close()

    left = [row[1] for row in messages(home)]

    assert running.returncode == 130
    assert b"the prune ended early: deleted 0 sessions and " in errors
    assert b"Traceback" not in errors
    gone = 20 * PRUNE_MESSAGES_MAX - len(left)
    assert gone >= PRUNE_MESSAGES_MAX
    assert left == [f"long-{number}" for number in range(gone, 20 * PRUNE_MESSAGES_MAX)]
    assert pruned(home, "--status", "done", "--yes")["messages"] == len(left)
    assert sessions(home) == []


@pytest.mark.parametrize("what", ["updated", "appended", "deleted"])
def test_a_session_that_changed_since_it_was_chosen_is_left_alone(home, what):
    add(home, "s", messages=LONG)
    criteria = Criteria(None, ["done"], None)
    replica = Replica(Home(home), 10)
    chosen = choose(replica, criteria, lambda *_: None)
    replica.close()
    with Client(home) as client:
        if what == "updated":
            client.update_session_status("s", "done")
        elif what == "appended":
            client.append_message("s", "user", "still at work")
        else:
            client.delete_session("s")
    before = messages(home)

    with open_prune(Home(home), 10) as running:
        running.delete(chosen, lambda *_: None)

    assert (running.pruned.sessions, running.pruned.messages) == (0, 0)
    assert running.pruned.left_alone == 1
    assert messages(home) == before


def test_a_session_that_is_appended_to_in_the_middle_keeps_the_rest(home, monkeypatch):
    add(home, "s", messages=LONG)
    replica = Replica(Home(home), 10)
    chosen = choose(replica, Criteria(None, ["done"], None), lambda *_: None)
    replica.close()
    with Client(home) as other, open_prune(Home(home), 10) as running:
        delete = running._delete_messages

        def delete_and_append(ids):
            delete(ids)
            other.append_message("s", "user", "still at work", id="late")

        monkeypatch.setattr(running, "_delete_messages", delete_and_append)
        running.delete(chosen, lambda *_: None)

    left = [row[1] for row in messages(home)]
    assert left == [*(f"s-{number}" for number in range(PRUNE_MESSAGES_MAX, LONG)), "late"]
    assert running.pruned.left_alone == 1


def test_messages_that_someone_else_deletes_meanwhile_do_not_end_it(home, monkeypatch):
    add(home, "s", messages=LONG)
    replica = Replica(Home(home), 10)
    chosen = choose(replica, Criteria(None, ["done"], None), lambda *_: None)
    replica.close()
    once = threading.Lock()
    with Client(home) as other, open_prune(Home(home), 10) as running:
        delete = running._delete_messages

        def delete_beside(ids):
            if once.acquire(blocking=False):
                other.delete_message("s-50")
            delete(ids)

        monkeypatch.setattr(running, "_delete_messages", delete_beside)
        running.delete(chosen, lambda *_: None)

    assert (running.pruned.sessions, running.pruned.messages) == (1, LONG - 1)
    assert sessions(home) == []


def test_a_piece_has_no_more_bytes_than_others_can_wait_for(home, monkeypatch):
    monkeypatch.setattr(prune_module, "PRUNE_BYTES_MAX", 40)
    add(home, "s", messages=12)
    replica = Replica(Home(home), 10)
    chosen = choose(replica, Criteria(None, ["done"], None), lambda *_: None)
    replica.close()
    with open_prune(Home(home), 10) as running:
        running.delete(chosen, lambda *_: None)

    ops = query(home / "lulu.db", "SELECT op FROM lulu_changes WHERE op LIKE '%delete'")
    assert ops == [("message.delete",)] * 10 + [("session.delete",)]
    assert running.pruned.messages == 12


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param([], "--older-than, --status or --keep", id="no-criterion"),
        pytest.param(["--yes"], "--older-than, --status or --keep", id="only-yes"),
        pytest.param(["--older-than", "30"], "30d", id="age-without-unit"),
        pytest.param(["--older-than", "999999w"], "36500", id="age-too-great"),
        pytest.param(["--keep", "-1"], "--keep", id="keep-below-zero"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(home, args, said):
    add(home, "s")

    result = luludb(home, "prune", *args)

    assert result.returncode == 2
    assert said in result.stderr.decode()
    assert sessions(home) == ["s"]


def test_without_a_daemon_it_shows_and_does_not_delete(luludb_daemon):
    add(luludb_daemon.home, "s")
    luludb_daemon.stop()

    shown = luludb(luludb_daemon.home, "prune", "--status", "done")
    result = luludb(luludb_daemon.home, "prune", "--status", "done", "--yes", "--timeout", "0.2")

    assert shown.returncode == 0
    assert result.returncode == 3
    assert b"run it again to go on" in result.stderr
    assert sessions(luludb_daemon.home) == ["s"]
