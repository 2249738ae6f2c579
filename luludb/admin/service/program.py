"""What a service runs, and what it is called."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass

from luludb.admin.service.tool import refused
from luludb.home import Home, find_home

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Program:
    """The daemon of one home.

    Attributes:
        name: `luludb`; for a home other than the user's usual one with 8 digits of its path's hash.
        home: an absolute path.
        python: the absolute path of the interpreter that has luludb.
    """

    name: str
    home: Home
    python: str

    @property
    def arguments(self) -> list[str]:
        """The command, word by word."""
        # -P: the manager starts it in the user's directory, whose modules are not to be imported.
        return [self.python, "-P", "-m", "luludb", "--home", str(self.home.path), "serve"]


@dataclass(frozen=True, slots=True)
class State:
    """How a service is doing, in its manager's words.

    Attributes:
        state: such as `active (running)`; `not installed` where its file is not there.
        starts_at_login: whether it is enabled.
        pid: of its daemon; None where none runs.
        restarts: how often the manager started it again after a failure; None if it does not say.
    """

    state: str
    starts_at_login: bool
    pid: int | None
    restarts: int | None


def program_of(home: Home) -> Program:
    """The program for `home`, with the Python that runs now.

    Raises:
        LuludbError: a path cannot stand in a service's file.
    """
    for path in (str(home.path), sys.executable):
        if not path or _CONTROL_CHARACTER.search(path) or not _is_utf8(path):
            raise refused(
                f"{path!r} cannot stand in the file of a service, which takes UTF-8 without"
                " control characters; choose another --home"
            )
    digits = hashlib.sha256(str(home.path).encode()).hexdigest()[:8]
    name = "luludb" if home == find_home(env={}) else f"luludb-{digits}"
    return Program(name=name, home=home, python=sys.executable)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
