"""What the tests of a restore ask of the command line and of the home."""

import json

from tests.databases import query
from tests.system.command_line import luludb


def restored(home, source, **options):
    result = luludb(home, "restore", str(source), "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def contents(home):
    return [content for (content,) in query(home / "lulu.db", "SELECT content FROM messages")]
