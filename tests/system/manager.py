"""A real `systemd --user` in a mount namespace of its own, with a journal that keeps lines.

systemd-journald cannot run in there: it would take the machine's kernel log. What stands in for
it listens where systemd connects the standard error of services, with the real protocol, so that
they see a `JOURNAL_STREAM` that matches; the first seven lines of a stream are its head.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tests" / "systemd-user.sh"
DEADLINE_S = 60
NSENTER = shutil.which("nsenter") or ""
JOURNAL = """
import os, selectors, socket, sys
os.makedirs("/run/systemd/journal", exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/systemd/journal/stdout")
listener.listen()
print(os.getpid(), flush=True)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
waiting.register(sys.stdin, selectors.EVENT_READ)
with open(sys.argv[1], "ab", buffering=0) as journal:
    while True:
        for key, _ in waiting.select():
            if key.fileobj is sys.stdin:
                sys.exit()
            if key.fileobj is listener:
                waiting.register(listener.accept()[0], selectors.EVENT_READ)
                continue
            received = key.fileobj.recv(65536)
            journal.write(received)
            if not received:
                waiting.unregister(key.fileobj)
                key.fileobj.close()
"""


class Manager:
    """A user's systemd, and the command line as that user runs it."""

    def __init__(self, pid: int, user_home: Path, journal: Path) -> None:
        self._pid = pid
        self._journal = journal
        self.user_home = user_home
        self.units = user_home / ".config" / "systemd" / "user"

    def run(self, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """Run `command` where the manager is."""
        runtime = f"/run/user/{os.getuid()}"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return subprocess.run(
            [NSENTER, f"--target={self._pid}", "--mount", f"--wd={ROOT}", *command],
            env={**kept, "HOME": str(self.user_home), "XDG_RUNTIME_DIR": runtime, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def luludb(self, home: Path, *args: str, **options) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "luludb", "--home", str(home), *args, **options)

    def service(self, home: Path, *args: str) -> str:
        """What `luludb service ARGS` printed; it must end with 0."""
        done = self.luludb(home, "service", *args)
        assert done.returncode == 0, done.stderr + self.log()
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit, in systemd's words."""
        command = ("systemctl", "--user", "show", unit, f"--property={name}", "--value")
        return self.run(*command).stdout.strip()

    def log(self) -> str:
        """All that services wrote to their standard error."""
        return self._journal.read_text(errors="replace")


@contextlib.contextmanager
def user_manager() -> Iterator[Manager]:
    """A manager of this test's own, ended with its services at the end."""
    for tool in ("systemctl", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            pytest.skip(f"tool: no {tool}")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("privilege: a mount namespace takes root")
    directory = Path(tempfile.mkdtemp(prefix="lulu-user-"))
    journal = directory / "journal"
    journal.touch()
    (directory / "me").mkdir()
    process = subprocess.Popen(
        [str(SCRIPT), sys.executable, "-c", JOURNAL, str(journal)],
        env={**os.environ, "SYSTEMD_USER_HOME": str(directory / "me")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid = process.stdout.readline()
        assert pid, "systemd --user did not start; what it said is above"
        yield Manager(int(pid), directory / "me", journal)
    finally:
        process.communicate(timeout=DEADLINE_S)
        shutil.rmtree(directory)
