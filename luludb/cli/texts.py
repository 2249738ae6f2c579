"""Texts for a person: nothing in them moves the cursor or changes the terminal."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# C0 and C1 control characters, DEL, the marks that turn the direction of writing, line and
# paragraph separators, and lone surrogates, which cannot be encoded.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def one_line(text: object) -> str:
    r"""`text` with each control character written out, as `\n` or `\x1b`.

    A row of another program may hold no text at all, such as NULL for an id.
    """
    return _UNSAFE.sub(_written_out, str(text))


def json_text(value: Any) -> str:
    r"""`value` as JSON on one line, in which no character acts on a terminal: `\u009b`."""
    return json_shown(_encode(value))


def json_shown(text: str) -> str:
    r"""The same of `text`, which is a line of JSON already; it stands for the same value."""
    return _UNSAFE.sub(_as_json_escape, text)


def several_lines(text: str) -> str:
    r"""`text` with each control character but line feed and tab written out."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else _written_out(found), text)


def _as_json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


# JSON itself asks only for the escape of what is below U+0020.
_encode: Final = json.JSONEncoder(ensure_ascii=False).encode
