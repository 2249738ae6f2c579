"""Frames as a client sends them, and what a fuzzer makes of them. Knows msgpack alone."""

from __future__ import annotations

import random
from typing import Any

import msgpack

CLIENT_ID_BYTES = 16


def real_requests() -> list[tuple[int, str, dict[str, Any]]]:
    """A request of every op: (seq, op, args)."""
    append = {"id": "f-m", "session_id": "f-s", "role": "user", "content": "hi"}
    create = {"id": "f-s", "name": "fuzz", "working_dir": "/fuzz"}
    singles: list[tuple[str, dict[str, Any]]] = [
        ("session.create", create),
        ("message.append", append),
        ("message.update", {"id": "f-m", "content": "ho"}),
        ("session.update", {"id": "f-s", "status": "done"}),
        ("message.delete", {"id": "f-m"}),
        ("session.delete", {"id": "f-s"}),
        ("message.append", {"session_id": "f-s", "role": "user", "content": "x" * 5000}),
    ]
    commands = [list(single) for single in singles]
    return [
        (0, "ping", {}),
        (0, "hello", {}),
        (0, "status", {}),
        *((seq, op, args) for seq, (op, args) in enumerate(singles, 1)),
        (1, "transaction", {"commands": commands}),
        (1, "pipeline", {"commands": commands}),
    ]


def real_frames(client_id: bytes) -> list[bytes]:
    """The same, packed; some with options."""
    plain = [[1, client_id, seq, 0, op, args] for seq, op, args in real_requests()]
    with_options = [[*elements, {"durability": "full"}] for elements in plain[3:5]]
    return [msgpack.packb(elements) for elements in (*plain, *with_options)]


def mutated(frame: bytes, chance: random.Random) -> bytes:
    """`frame` with some of its bytes changed, cut out, doubled, or put in."""
    changed = bytearray(frame)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + chance.randrange(1, 8)]
            case 2:
                changed[at:at] = changed[at : at + chance.randrange(1, 32)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 8))
            case _:
                if at < len(changed):
                    changed[at] = chance.randrange(256)
    return bytes(changed)


def random_value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that msgpack can pack."""
    kind = chance.randrange(9 if depth < 4 else 6)
    match kind:
        case 0:
            return chance.choice((None, True, False, 0.0, float("nan"), float("inf")))
        case 1:
            return chance.choice((0, 1, -1, 2**53, 2**64 - 1, -(2**63), chance.randrange(1000)))
        case 2 | 3:
            return chance.choice(("", "hi", "\0", "é" * 200, "session.create", "f-s", "x" * 5000))
        case 4:
            return chance.randbytes(chance.choice((0, 1, 15, 16, 17, 300)))
        case 5:
            return msgpack.ExtType(chance.randrange(128), chance.randbytes(3))
        case 6:
            return [random_value(chance, depth + 1) for _ in range(chance.randrange(5))]
    names = (
        "id",
        "name",
        "working_dir",
        "status",
        "session_id",
        "role",
        "content",
        "commands",
        "z",
    )
    return {
        chance.choice(names): random_value(chance, depth + 1) for _ in range(chance.randrange(5))
    }


def fuzzed_frame(client_id: bytes, seq: int, chance: random.Random) -> bytes:
    """Bytes, wrong values, a changed real request, or one that is right, or but for a part."""
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return bytes(msgpack.packb(random_value(chance)))
        case 2:
            return mutated(chance.choice(real_frames(client_id)), chance)
        case 3:
            _, op, _ = chance.choice(real_requests())
            args = random_value(chance, 2)
            return bytes(msgpack.packb([1, client_id, seq, 0, op, args]))
    _, op, args = chance.choice(real_requests())
    elements: list[Any] = [1, client_id, seq, seq - 1, op, dict(args)]
    at = chance.randrange(len(elements) + 2)
    if at > len(elements):
        pass  # one that is right: what comes next meets a row, and a client that goes on
    elif at == len(elements):
        elements.append(random_value(chance))
    elif at == 5 and args:
        elements[5][chance.choice(list(args))] = random_value(chance)
    else:
        elements[at] = random_value(chance)
    return bytes(msgpack.packb(elements))
