"""The list of guards that are taken out in the long runs fits the program and the tests."""

from __future__ import annotations

import ast

import pytest

from tests.crash.guards import GUARDS, Guard
from tests.crash.taking_out import ROOT


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_in_the_program_once_and_its_test_is_there(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text(encoding="utf-8").count(guard.text) == 1
    path, _, name = guard.test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
