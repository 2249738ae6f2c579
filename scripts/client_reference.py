"""Writes docs/client.md, the reference of the Python client, from the docstrings.

.venv/bin/python -m scripts.client_reference
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import luludb_client
from luludb_client import testing
from luludb_client.async_watcher import AsyncWatch
from luludb_client.batch import Transaction
from luludb_client.watcher import Watch

FILE: Final = Path(__file__).resolve().parent.parent / "docs" / "client.md"
INTRODUCTION: Final = """# The Python client

Made by `python -m scripts.client_reference` from the docstrings; change those, not this file.

`from luludb_client import Client, AsyncClient`. Reads open the file and need no daemon. Writes go
to the daemon and return when they are kept. No call waits longer than the client's `timeout_s`; a
restart of the daemon in the middle of one costs time and nothing else.

## Which error means what

- Refused (`InvalidRequest`, `NotFound`, `AlreadyExists`, `TooLarge`): nothing was changed; the same
  again is refused again.
- Passing (`Busy`, `Overloaded`, `DiskFull`, `DaemonUnavailable`): nothing was changed; it may
  succeed later.
- `OutcomeUnknown`: it was sent, and no answer came in time; it may have been applied, and may still
  be. Give ids of your own where that matters: then the row can be looked up, or sent again with
  `AlreadyExists` taken for done.
- `DataLoss`: writes that were seen before are gone, by a loss of power at durability `normal` or by
  a restored backup. The client is done. Decide what the loss means for what you hold in memory,
  then make a new one.

All derive from `LuludbError` and carry `.code`, `.message` and `.details`.
"""
FOR_TESTS: Final = """`from luludb_client.testing import running_daemon`; pytest finds the fixture
`luludb_daemon`, which yields the same.
"""
WIDTH: Final = 100
_SHOWN_SPECIALS: Final = ("__next__", "__anext__")


def make_reference() -> str:
    """The file's text."""
    public = [getattr(luludb_client, name) for name in luludb_client.__all__]
    clients = [luludb_client.Client, luludb_client.AsyncClient]
    rows: list[Any] = [each for each in public if is_dataclass(each)]
    errors = [each for each in public if issubclass(each, Exception)]
    parts = [INTRODUCTION]
    for client in clients:
        parts += _class(client)
    parts += ["## What they return\n", *(part for row in rows for part in _row(row))]
    for each in (Transaction, Watch, AsyncWatch):
        parts += _class(each, with_init=False)
    parts += ["## Errors\n", "| error | code | |\n|---|---|---|\n" + "".join(map(_error, errors))]
    parts += [
        "## For tests\n",
        FOR_TESTS,
        *_function(testing.running_daemon, "running_daemon"),
        *_class(testing.Daemon, with_init=False),
    ]
    return "\n".join(parts)


def _class(found: type, *, with_init: bool = True) -> Iterator[str]:
    yield f"## {found.__name__}\n"
    if with_init:
        yield f"```text\n{_signature(found.__name__, found.__init__)}\n```\n"  # type: ignore[misc]
    yield _markdown(found.__doc__)
    for name, member in vars(found).items():
        if name.startswith("_") and name not in _SHOWN_SPECIALS:
            continue
        if isinstance(member, property):
            yield f"### {name}\n"
            yield _markdown(member.__doc__)
        elif inspect.isfunction(member):
            yield from _function(member, name)


def _function(found: Callable[..., Any], name: str) -> Iterator[str]:
    yield f"### {name}\n"
    kind = "async " if inspect.iscoroutinefunction(found) else ""
    yield f"```text\n{kind}{_signature(name, found)}\n```\n"
    yield _markdown(found.__doc__)


def _signature(name: str, found: Callable[..., Any]) -> str:
    """One line, or where that is long one line a parameter."""
    signature = inspect.signature(found)
    parameters = list(_parameters(signature))
    returned = "" if name.endswith("Client") else f" -> {signature.return_annotation}"
    text = f"{name}({', '.join(parameters)}){returned}"
    if len(text) <= WIDTH:
        return text
    return f"{name}(\n    " + ",\n    ".join(parameters) + f",\n){returned}"


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    is_marked = False
    before = None
    for each in signature.parameters.values():
        if before is not None and before.kind is each.POSITIONAL_ONLY is not each.kind:
            yield "/"
        if each.kind is each.KEYWORD_ONLY and not is_marked:
            is_marked = True
            yield "*"
        before = each
        if each.name != "self":
            yield re.sub(r": '([^']*)'", r": \1", str(each))


def _row(found: Any) -> Iterator[str]:
    names = ", ".join(field.name for field in fields(found))
    yield f"### {found.__name__}\n"
    yield f"```text\n{found.__name__}({names})\n```\n"
    yield _markdown(found.__doc__)


def _error(found: type[Exception]) -> str:
    first = inspect.cleandoc(found.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    code = getattr(found, "code", "")
    return f"| `{found.__name__}` | `{code}` | {first} |\n"


def _markdown(docstring: str | None) -> str:
    """A docstring's paragraphs, and its sections as lists."""
    assert docstring is not None, "what is public has a docstring"
    lines = []
    is_list = False
    for line in inspect.cleandoc(docstring).splitlines():
        section = re.fullmatch(r"(Args|Raises|Returns|Yields|Attributes):", line)
        if section:
            is_list = True
            lines += [f"*{section[1]}*", ""]
        elif is_list and re.match(r"    \S", line):
            lines.append(re.sub(r"^    (\w+): ", r"- `\1`: ", line))
        elif is_list and line.startswith("        "):
            lines.append("  " + line.strip())
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(make_reference(), encoding="utf-8")
