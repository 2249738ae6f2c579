"""The log of a daemon in the background."""

import json
import os

from luludb_client import Client
from tests.system.background.daemons import DEADLINE_S, ended, log_of, started


def test_the_log_is_lines_of_json_that_only_its_owner_reads(home):
    old_umask = os.umask(0)
    try:
        pid = started(home)["pid"]
    finally:
        os.umask(old_umask)
    assert ended(home, "stop")[0] == 0

    lines = [json.loads(line) for line in log_of(home).splitlines()]
    assert [line["message"].split()[0] for line in lines] == ["luludb", "stopping:", "stopped"]
    assert {(line["pid"], line["level"]) for line in lines} == {(pid, "info")}
    assert (home / "log").stat().st_mode & 0o777 == 0o700
    assert (home / "log" / "daemon.log").stat().st_mode & 0o777 == 0o600


def test_no_content_is_in_the_log_at_any_level(home):
    secret = "xyzzy-4711"
    started(home, env={"LULUDB_LOG_LEVEL": "debug"})
    with Client(home) as client:
        session = client.create_session(secret, f"/{secret}", id=secret)
        client.append_message(session.id, "user", secret)
        with client.transaction() as batch:
            batch.append_message(session.id, secret, secret)
        refused = [
            ("session.create", {"id": secret, "name": secret, "working_dir": "/"}),
            ("message.append", {"session_id": "x" + secret, "role": "r", "content": secret}),
            ("message.append", {"session_id": secret, "role": secret * 9, "content": secret}),
            (secret, {}),
            ("message.delete", {"id": secret, secret: secret}),
        ]
        for op, args in refused:
            assert client.submit(op, **args).exception(DEADLINE_S) is not None
    assert ended(home, "stop")[0] == 0

    found = log_of(home)
    for code in ("already_exists", "not_found", "invalid", "unknown_op"):
        assert f"refused as {code}" in found
    assert secret not in found
