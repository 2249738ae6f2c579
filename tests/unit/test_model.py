"""The nouns that callers get."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from luludb.model import Message, new_message


def test_a_message_made_the_short_way_is_one_like_any_other() -> None:
    made = new_message("i", "s", "user", "c", "t")
    usual = Message(id="i", session_id="s", role="user", content="c", timestamp="t")

    assert type(made) is Message
    assert (made, hash(made), repr(made)) == (usual, hash(usual), repr(usual))
    assert dataclasses.astuple(made) == ("i", "s", "user", "c", "t")
    assert dataclasses.replace(made, role="agent").role == "agent"
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == usual
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.id = "other"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        made.other = 1  # type: ignore[attr-defined]
