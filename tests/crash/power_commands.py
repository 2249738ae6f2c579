"""Commands made at random, most of which can be done and some of which must be refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests.crash.power_model import Model

CONTENT_CHARACTERS_MAX = 9000  # more than two pages of the database
TRANSACTION_COMMANDS_MAX = 5
_OPS = {
    "message.append": 60,
    "session.create": 10,
    "message.update": 8,
    "transaction": 8,
    "session.update": 6,
    "message.delete": 5,
    "session.delete": 3,
}


def random_command(
    chance: random.Random, model: Model, names: Iterator[int]
) -> tuple[str, dict[str, Any]]:
    """Op and args. Ids are mostly those of `model`, and new ones are taken from `names`."""
    op = "session.create"
    if model.sessions:
        op = chance.choices(list(_OPS), list(_OPS.values()))[0]
    if op != "transaction":
        return op, _args(op, chance, model, names)
    inner = chance.choices(
        ["message.append", "message.update"], [4, 1], k=chance.randint(1, TRANSACTION_COMMANDS_MAX)
    )
    return op, {"commands": [[each, _args(each, chance, model, names)] for each in inner]}


def _args(op: str, chance: random.Random, model: Model, names: Iterator[int]) -> dict[str, Any]:
    session_id = _one_of(model.sessions, chance)
    message_id = _one_of(model.messages, chance)
    is_known = chance.random() < 0.03  # an id that is taken
    match op:
        case "session.create":
            id = session_id if is_known else f"s{next(names)}"
            return {"id": id, "name": "n", "working_dir": "/w"}
        case "session.update":
            return {"id": session_id, "status": f"status-{chance.randrange(100)}"}
        case "session.delete" | "message.delete":
            return {"id": session_id if op == "session.delete" else message_id}
        case "message.update":
            return {"id": message_id, "content": _content(chance)}
    return {
        "id": message_id if is_known else f"m{next(names)}",
        "session_id": session_id,
        "role": "user",
        "content": _content(chance),
    }


def _one_of(ids: dict[str, Any], chance: random.Random) -> str:
    """One that is there, or now and then one that is not."""
    if not ids or chance.random() < 0.04:
        return "nowhere"
    return chance.choice(list(ids)[-30:])


def _content(chance: random.Random) -> str:
    characters = chance.choice([20, 300, CONTENT_CHARACTERS_MAX])
    return chance.randbytes(chance.randint(0, characters) // 2).hex()
