"""The `.venv` of this repository, in which the scripts run: made, kept up to date and entered here.

    python=$(python3 scripts/environment.py run)     what `demo` and `stress.py` need
    python=$(python3 scripts/environment.py test)    that, and the tools of the tests
    python=$(python3 scripts/environment.py bench)   that, and what the benchmark compares with

prints the path of its Python on standard output; all else goes to standard error. The environment
is installed anew when pyproject.toml changes; otherwise the second time takes a fraction of a
second. Needs the standard library alone. A Python too old for luludb has to get as far as its
message, so nothing here is syntax that Python 3.6 does not know.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

VERSION_MIN = (3, 11)
NEWER_MINORS = range(30, VERSION_MIN[1] - 1, -1)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PLACE = VENV / "made-for"
EXTRAS = {"run": "", "test": "[test]", "bench": "[bench]"}

# What a caller's shell may have set for another Python, and what would send pip's work elsewhere
# (pip refuses --user inside a virtual environment).
FOREIGN_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "VIRTUAL_ENV",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "__PYVENV_LAUNCHER__",
)


def say(message: str) -> None:
    """One line of progress."""
    print(message, file=sys.stderr, flush=True)


def require_version() -> None:
    """Go on with a Python that is new enough, or end with a message."""
    if sys.version_info >= VERSION_MIN:
        return
    for minor in NEWER_MINORS:
        newer = shutil.which(f"python3.{minor}")
        # A name in PATH may be a shim of a version manager for a version that is not there.
        if newer and subprocess.call([newer, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(newer, [newer, *sys.argv])  # noqa: S606  # found in PATH, as python3 was
    say(
        f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}; luludb needs"
        f" {VERSION_MIN[0]}.{VERSION_MIN[1]} or newer. Install one and put it first in PATH"
    )
    sys.exit(1)


require_version()


def ensure(purpose: str) -> Path:
    """The environment's Python, after everything that `purpose`, one of EXTRAS, needs is there.

    Ends the process with a message that says what to do where that cannot be.
    """
    if is_ready(purpose):
        return PYTHON
    with locked():
        if not is_ready(purpose):  # another one may have made it while this one waited
            install(purpose)
    return PYTHON


def enter(purpose: str) -> NoReturn:
    """Run this same script again, with its arguments, by the environment's Python."""
    python = str(ensure(purpose))
    os.execve(python, [python, *sys.argv], own_environment())  # noqa: S606  # a path of our own


def is_ready(purpose: str) -> bool:
    """Whether the environment runs and has what `purpose` needs by this pyproject.toml."""
    # Everything brings what `run` needs.
    purposes = EXTRAS if purpose == "run" else [purpose]
    installed = any(stamp_of(each).is_file() for each in purposes)
    return installed and is_at_its_place() and runs("import luludb, luludb_client")


def is_at_its_place() -> bool:
    """Whether the environment was made here; a moved one has the old place in its scripts."""
    return PLACE.is_file() and PLACE.read_bytes() == os.fsencode(VENV)


def stamp_of(purpose: str) -> Path:
    """The file that says that `purpose` was installed, by the pyproject.toml of now."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes())
    return VENV / f"installed-{purpose}-{digest.hexdigest()[:16]}"


def runs(statement: str) -> bool:
    """Whether the environment's Python is there and runs `statement`."""
    return PYTHON.exists() and succeeds([str(PYTHON), "-c", statement])


def succeeds(command: list[str]) -> bool:
    """Whether `command` ends with 0; what it prints is dropped."""
    ended = subprocess.run(command, check=False, env=own_environment(), capture_output=True)
    return ended.returncode == 0


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one process at a time work on the environment.

    The lock is on this file, which is always there and never replaced while scripts run.
    """
    with Path(__file__).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another one that is setting up .venv")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(purpose: str) -> None:
    """Make the environment where it does not work, and install into it."""
    say(f"setting up {VENV} (once; about a minute)")
    for stamp in outdated_stamps():
        stamp.unlink()
    if not is_at_its_place() or not runs("import pip"):
        make_venv()
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--quiet", "--quiet", "--no-input", "--editable", f"{ROOT}{EXTRAS[purpose]}"]
    ended = subprocess.run(command, check=False, env=own_environment(), stdout=sys.stderr)
    if ended.returncode:
        fail(f"pip could not install luludb into {VENV}; what it said is above")
    if not runs("import luludb, luludb_client"):
        fail(f"{VENV} was made but does not run; remove it and try again: rm -r {VENV}")
    stamp_of(purpose).touch()


def outdated_stamps() -> list[Path]:
    """The stamps that say what is not so: all, where nothing runs; else those of before.

    One that is for another purpose stays, since pip only adds to what is there.
    """
    works = is_at_its_place() and runs("import luludb, luludb_client")
    kept = {stamp_of(purpose) for purpose in EXTRAS} if works else set()
    return [stamp for stamp in VENV.glob("installed-*") if stamp not in kept]


def make_venv() -> None:
    """A new, empty environment in the place of what is there."""
    found = importlib.util.find_spec("ensurepip")
    if found is None or found.origin is None:  # None: only the cache of a removed package is left
        fail_without_ensurepip()
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(
        command,
        check=False,
        env=own_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    if made.returncode:
        sys.stderr.write(made.stdout)
        if "ensurepip" in made.stdout:
            fail_without_ensurepip()
        fail(f"{sys.executable} -m venv {VENV} failed; what it said is above")
    PLACE.write_bytes(os.fsencode(VENV))


def fail_without_ensurepip() -> NoReturn:
    """End with the command that brings ensurepip, which Debian keeps in a package of its own."""
    sudo = "" if os.getuid() == 0 else "sudo "
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if shutil.which("apt-get") is None:
        fail(f"{sys.executable} lacks ensurepip, so `python3 -m venv` cannot work: install it")
    fail(
        f"{sys.executable} lacks ensurepip, so `python3 -m venv` cannot work. This mends it:\n\n"
        f"    {sudo}apt-get install python3-venv\n\n"
        f"or, for a Python beside the system's own: {sudo}apt-get install python{version}-venv"
    )


def own_environment() -> dict[str, str]:
    """The caller's variables without those that are meant for another Python."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    return {**kept, "PIP_USER": "0"}


def fail(message: str) -> NoReturn:
    """End the process with what went wrong."""
    say(f"scripts/environment.py: {message}")
    sys.exit(1)


def main() -> None:
    """Print the path of the environment's Python."""
    if len(sys.argv) != 2 or sys.argv[1] not in EXTRAS:
        say(f"usage: {sys.argv[0]} {'|'.join(EXTRAS)}")
        sys.exit(2)
    try:
        print(ensure(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}")


if __name__ == "__main__":
    main()
