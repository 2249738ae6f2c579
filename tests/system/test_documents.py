"""What docs/ shows, run as it stands: the shell commands and the Python examples."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luludb_client import Client
from luludb_client.testing import Daemon
from tests.conftest import ROOT
from tests.system.test_readme import DEADLINE_S, environment, stopping

INSTALLS = ("pip install", "-m venv")


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(command: list[str], directory: Path, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment(HOME=str(directory), **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def home(luludb_daemon: Daemon) -> Path:
    with Client(luludb_daemon.home) as client:
        session = client.create_session("mend the parser", "/home/dev/parser")
        client.append_message(session.id, "user", "IndexError since yesterday")
        client.append_message(session.id, "assistant", "The list is empty.")
    return luludb_daemon.home


def test_getting_started_runs_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shown = [
        block
        for block in blocks("getting-started.md", "sh")
        if not any(word in block for word in INSTALLS)
    ]
    (example,) = blocks("getting-started.md", "python")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    # After the third of the shown blocks, as on the page.
    shown.insert(2, "python example.py\n")
    script = "set -eu\n" + "".join(shown)

    with stopping(tmp_path / "lulu"):
        said = run(["bash", "-c", script], tmp_path)

    assert "user Cover the empty list.\nassistant Done.\n" in said
    assert (tmp_path / "first-backup.db").is_file()
    assert said.endswith("4\n")


def test_the_shell_recipes_run(home: Path, tmp_path: Path) -> None:
    shown = [block for block in blocks("recipes.md", "sh") if "datasette serve" not in block]

    said = run(["bash", "-euc", "".join(shown)], tmp_path, LULUDB_HOME=str(home))

    assert said.startswith("assistant|1\nuser|1\n")
    assert (tmp_path / "messages.jsonl.gz").is_file()


@pytest.mark.parametrize(
    ("needs", "finds"),
    [
        pytest.param("sqlite3", "mend the parser 2", id="sqlite3"),
        pytest.param("pandas", "assistant", id="pandas"),
        pytest.param("duckdb", "[('assistant', 1), ('user', 1)]", id="duckdb"),
    ],
)
def test_the_python_recipes_run(home: Path, tmp_path: Path, needs: str, finds: str) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"tool: {needs} is not installed")
    place = {"sqlite3": 0, "pandas": 1, "duckdb": 2}[needs]
    example = blocks("recipes.md", "python")[place]
    assert f"import {needs}" in example or f", {needs}" in example
    if needs == "duckdb":
        run(["luludb", "export", "messages.jsonl.gz"], tmp_path, LULUDB_HOME=str(home))

    said = run([sys.executable, "-c", example], tmp_path, LULUDB_HOME=str(home))

    assert finds in said


def test_the_asyncio_recipe_appends_each_line_once(home: Path, tmp_path: Path) -> None:
    (example,) = [block for block in blocks("recipes.md", "python") if "asyncio.run(" in block]

    assert run([sys.executable, "-c", example], tmp_path, LULUDB_HOME=str(home)) == "100\n"
    if importlib.util.find_spec("uvloop") is not None:
        example = "import uvloop\n" + example.replace("asyncio.run(", "uvloop.run(")
        assert run([sys.executable, "-c", example], tmp_path, LULUDB_HOME=str(home)) == "100\n"


def test_the_asgi_recipe_serves_under_uvicorn(home: Path, tmp_path: Path) -> None:
    for needs in ("uvicorn", "httpx"):
        if importlib.util.find_spec(needs) is None:
            pytest.skip(f"tool: {needs} is not installed")
    import httpx

    (example,) = [block for block in blocks("recipes.md", "python") if "async def app(" in block]
    (tmp_path / "application.py").write_text(example, encoding="utf-8")
    with Client(home) as client:
        (session,) = client.list_sessions()
    place = home / "web.sock"  # whose path leaves room for a socket's, unlike pytest's own
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "application:app", "--uds", str(place)],
        cwd=tmp_path,
        env=environment(LULUDB_HOME=str(home)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while not place.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(place)), base_url="http://luludb"
        ) as web:
            assert web.post(f"/{session.id}", content="from the web").status_code == 200
            assert web.get(f"/{session.id}").text.endswith("empty.\nuser: from the web")
            assert web.post("/nobody", content="x").status_code == 404
    finally:
        server.send_signal(signal.SIGINT)
        said, _ = server.communicate(timeout=DEADLINE_S)
    assert "Application shutdown complete" in said
    assert "Traceback" not in said, said
