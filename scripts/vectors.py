"""Golden vectors of wire protocol 1: what a daemon answers to requests with fixed ids.

Writes docs/protocol-vectors.json, for those who write a client in another language:

    .venv/bin/python -m scripts.vectors

What differs from run to run (pid, version, random ids, the time of an update) is set to fixed
values, those of `FIXED`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack
import zmq

from luludb.home import Home, read_discovery
from luludb.wire import encode_notice
from luludb_client.testing import running_daemon
from luludb_client.zmtp import encode_frame, encode_opening

FILE: Final = Path(__file__).resolve().parent.parent / "docs" / "protocol-vectors.json"
CLIENT_ID: Final = bytes(range(16))
OTHER_ID: Final = bytes(range(16, 32))
TIME: Final = "2026-01-02T03:04:05.000006+00:00"
LATER: Final = "2026-01-02T03:04:06.000007+00:00"
FIXED: Final = {
    "pid": 12345,
    "version": "1.0.0",
    "boot_id": "0" * 32,
    "database_id": "1" * 32,
    "updated_at": LATER,
}
DEADLINE_MS: Final = 20_000
SESSION: Final = {"id": "s1", "name": "mend the parser", "working_dir": "/home/dev/parser"}
APPEND: Final = {"session_id": "s1", "role": "user", "timestamp": TIME}


class Request(NamedTuple):
    """A request of the vectors: `elements` are packed, but for a frame that is no request."""

    name: str
    elements: list[Any]


def _request(name: str, seq: int, acked: int, op: str, args: Any, *more: Any) -> Request:
    return Request(name, [1, CLIENT_ID, seq, acked, op, args, *more])


REQUESTS: Final = (
    _request("hello", 0, 0, "hello", {}),
    _request("ping", 0, 0, "ping", {}),
    _request("status", 0, 0, "status", {}),
    _request("compact", 0, 0, "compact", {"pages": 0}),
    _request(
        "session.create",
        1,
        0,
        "session.create",
        {**SESSION, "status": "created", "created_at": TIME, "updated_at": TIME},
    ),
    _request(
        "message.append",
        2,
        1,
        "message.append",
        {"id": "m1", "content": "Gr\u00fc\u00dfe", **APPEND},
    ),
    _request(
        "message.append again: the kept reply",
        2,
        1,
        "message.append",
        {"id": "m1", "content": "Gr\u00fc\u00dfe", **APPEND},
    ),
    _request(
        "the same seq with other args: sequence_reused",
        2,
        1,
        "message.append",
        {"id": "m1", "content": "other", **APPEND},
    ),
    _request("message.update", 3, 2, "message.update", {"id": "m1", "content": ""}),
    _request("session.update", 4, 3, "session.update", {"id": "s1", "status": "completed"}),
    _request(
        "transaction, at durability full",
        5,
        4,
        "transaction",
        {
            "commands": [
                ["message.append", {"id": "m2", "content": "two", **APPEND}],
                ["message.delete", {"id": "m1"}],
            ]
        },
        {"durability": "full"},
    ),
    _request(
        "transaction that is refused: index is the place of the command",
        6,
        5,
        "transaction",
        {
            "commands": [
                ["message.append", {"id": "m3", "content": "three", **APPEND}],
                ["message.delete", {"id": "unknown"}],
            ]
        },
    ),
    _request(
        "pipeline of seqs 7 and 8, the second refused",
        7,
        6,
        "pipeline",
        {
            "commands": [
                ["message.append", {"id": "m3", "content": "three", **APPEND}],
                ["message.append", {"id": "m3", "content": "three", **APPEND}],
            ]
        },
    ),
    _request("message.delete", 9, 8, "message.delete", {"id": "m2"}),
    _request("a seq too far: out_of_order", 99, 9, "message.delete", {"id": "m3"}),
    _request("args that are not allowed: invalid", 10, 9, "message.delete", {"key": "m3"}),
    _request("unknown_op", 11, 10, "message.move", {}),
    _request("session.delete", 12, 11, "session.delete", {"id": "s1"}),
    Request("another protocol", [2, CLIENT_ID, 13, 12, "ping", {}]),
    Request("a client_id that said no hello", [1, OTHER_ID, 1, 0, "session.delete", {"id": "s1"}]),
    Request("not a request: five elements", [1, CLIENT_ID, 13, 12, "ping"]),
)


def make_vectors() -> dict[str, Any]:
    """The vectors as a fresh daemon gives them."""
    with running_daemon() as daemon, _connected(daemon.home) as socket:
        exchanges = [_exchange(socket, request) for request in REQUESTS]
    return {
        "protocol": 1,
        "fixed_in_replies": FIXED,
        "exchanges": exchanges,
        "notice": {"topic": b"s1".hex(), "frame": encode_notice(2).hex()},
        "zmtp": {
            "dealer_opening": encode_opening("DEALER").hex(),
            "frame_of_ping": encode_frame(msgpack.packb(REQUESTS[1].elements)).hex(),
        },
    }


def text_of(vectors: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"


def _exchange(socket: zmq.Socket[bytes], request: Request) -> dict[str, Any]:
    frame = msgpack.packb(request.elements)
    socket.send(frame)
    reply = msgpack.unpackb(socket.recv())
    made = {"name": request.name, "means": _readable(request.elements), "request": frame.hex()}
    if request.name == "status":
        return {**made, "reply": None}  # figures, which differ from run to run
    fixed = _fixed(reply)
    return {**made, "reply": msgpack.packb(fixed).hex(), "reply_means": fixed}


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: FIXED[key] if key in FIXED and inner != TIME else _fixed(inner)
            for key, inner in value.items()
        }
    return [_fixed(inner) for inner in value] if isinstance(value, list) else value


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"bin {value.hex()}"
    return [_readable(inner) for inner in value] if isinstance(value, list) else value


@contextlib.contextmanager
def _connected(home: Path) -> Iterator[zmq.Socket[bytes]]:
    found = read_discovery(Home(home))
    assert found is not None
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = DEADLINE_MS
        socket.connect(found.command)
        yield socket


if __name__ == "__main__":
    FILE.write_text(text_of(make_vectors()), encoding="utf-8")
