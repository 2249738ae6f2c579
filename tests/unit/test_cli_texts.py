"""Nothing that was recorded may act on the terminal of the one who reads it."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb.cli.texts import json_text, one_line, several_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain é 漢 🙂", "plain é 漢 🙂", id="plain"),
        pytest.param("a\nb\tc\r", r"a\nb\tc\r", id="line-ends-and-tabs"),
        pytest.param("\x1b[2J", r"\x1b[2J", id="escape"),
        pytest.param("\x9b31m", r"\x9b31m", id="c1-control-sequence"),
        pytest.param("\0", r"\x00", id="nul"),
        pytest.param("a\u202eb", r"a\u202eb", id="right-to-left-override"),
        pytest.param("a\u2028b", r"a\u2028b", id="line-separator"),
        pytest.param("a\udcffb", r"a\udcffb", id="lone-surrogate"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert one_line(text) == shown


@given(st.text())
def test_what_is_shown_has_no_control_characters_and_can_be_encoded(text):
    shown = one_line(text)

    assert not any(unicodedata.category(character) == "Cc" for character in shown)
    assert shown.encode().decode() == shown


def test_several_lines_keep_their_line_feeds_and_tabs():
    assert several_lines("a\n\tb\x1b\r") == "a\n\tb\\x1b\\r"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain é 漢 🙂", '"plain é 漢 🙂"', id="plain"),
        pytest.param("\x1b[2J", r'"\u001b[2J"', id="escape"),
        pytest.param("\x9b31m", r'"\u009b31m"', id="c1-control-sequence"),
        pytest.param("\x7f", r'"\u007f"', id="delete"),
        pytest.param("a\u202eb", r'"a\u202eb"', id="right-to-left-override"),
    ],
)
def test_json_has_control_characters_as_json_writes_them(text, shown):
    assert json_text(text) == shown


@given(st.text())
def test_json_stands_for_the_same_text_and_acts_on_no_terminal(text):
    shown = json_text({"content": text})

    assert json.loads(shown) == {"content": text}
    assert shown == one_line(shown)
