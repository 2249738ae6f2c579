"""Wire protocol 1: bytes to requests and replies and back. The only place that knows msgpack.

A request is one frame, an array `[1, client_id, seq, acked, op, args]` with an optional map of
options behind it; a reply is one frame, an array `[1, seq, status, body]`. Every function here is
pure. Decoding any bytes either returns or raises `InvalidRequest`; any other exception is a bug.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, islice
from struct import Struct
from typing import Any, NamedTuple

import msgpack

from luludb.errors import InvalidRequest
from luludb.limits import (
    CLIENT_ID_BYTES,
    CONTAINER_ELEMENTS_MAX,
    CONTAINERS_MAX,
    INTEGER_MAX,
    NESTING_DEPTH_MAX,
)
from luludb.model import OK, PROTOCOL, Outcome, Request, new_tuple

_pack: Callable[[Any], bytes] = msgpack.Packer(autoreset=True).pack
_unpackb: Callable[..., Any] = msgpack.unpackb
_DIGEST_BYTES = 16
_TEXT = {str}
_CONTAINERS = frozenset({list, dict})
_REQUEST_TYPES = [int, bytes, int, int, str, dict]


KeptReply = tuple[int, bytes, int, bytes]
"""Seq and digest of a command, and the status and body of its reply."""


class Reply(NamedTuple):
    """One reply as a client decodes it."""

    protocol: int
    seq: int
    status: int
    body: dict[str, Any]


# What the daemon does with bytes.


def decode_request(frame: bytes) -> Request:
    """The request that `frame` holds.

    Raises:
        InvalidRequest: the frame does not decode whole, or one of its first six elements is not
            of the type that protocol 1 gives it, or it has so many lists and maps that looking at
            them would hold up everyone.
    """
    elements = _unpack(frame)
    if len(frame) > CONTAINERS_MAX:  # a container takes a byte at the least
        _check_containers(elements)
    if type(elements) is not list or len(elements) < 6:
        raise InvalidRequest(
            f"request is {_described(elements)}; it must be an array of 6 or more elements"
        )
    if len(elements) == 6:
        elements.append({})
    if [*map(type, elements[:6])] == _REQUEST_TYPES:
        protocol, client_id, seq, acked = elements[:4]
        if (
            len(client_id) == CLIENT_ID_BYTES
            and max(map(abs, (protocol, seq, acked))) <= INTEGER_MAX
        ):
            return new_tuple(Request, elements[:7])
    found = ", ".join(_described(element) for element in elements[:6])
    raise InvalidRequest(
        f"request is [{found}]; it must be [int, bin of 16 bytes, int, int, str, map]"
        f" with integers below 2^53"
    )


def content_digest(op: str, args: Mapping[Any, Any]) -> bytes:
    """16 bytes that are the same for the same op and args, however they were framed.

    The ledger keeps them, so their making is part of the schema. No command's args are nested
    deep, but one that was refused for that is kept like any other.
    """
    if {*map(type, args.values())} != _TEXT:
        return _digest(op, args if _is_canonical(args) else _canonical(args, 0))
    try:
        keys = sorted(args)
        if keys != [*args]:
            args = {key: args[key] for key in keys}
    except TypeError:  # keys of several types, which cannot be compared
        return _digest(op, _canonical(args, 0))
    return _digest(op, args)


def encode_body(body: Mapping[str, Any]) -> bytes:
    """A reply's body, packed: what the ledger keeps."""
    return _pack(body)


def decode_durability(body: bytes) -> Any:
    """The level that a command's packed body tells."""
    return msgpack.unpackb(body).get("durability")


def encode_reply(seq: int, outcome: Outcome) -> bytes:
    """The frame that answers `seq`."""
    return b"\x94\x01" + _pack(seq) + (b"\x01" if outcome.status else b"\x00") + outcome.body


def encode_pipeline_body(outcomes: Sequence[Outcome], durability: str) -> bytes:
    """The body of a pipeline's reply: `{replies: [[status, body], …], durability}`."""
    parts = [b"\x82", _pack("durability"), _pack(durability), _pack("replies")]
    parts.append(_array_header(len(outcomes)))
    for status, body in outcomes:
        parts += (b"\x92\x01" if status else b"\x92\x00", body)
    return b"".join(parts)


def encode_kept(replies: Sequence[KeptReply]) -> bytes:
    """Replies to keep as one value of the ledger."""
    return _pack(replies)


def decode_kept(packed: bytes) -> list[KeptReply]:
    """What `encode_kept` packed."""
    return [(seq, digest, status, body) for seq, digest, status, body in msgpack.unpackb(packed)]


def decode_last_rev(packed: bytes) -> int | None:
    """The last rev that a client's newest kept replies tell of; None where all are refusals."""
    for _, _, _, body in reversed(decode_kept(packed)):
        rev = msgpack.unpackb(body).get("rev")
        if rev is not None:
            return int(rev)
    return None


def encode_notice(rev: int) -> bytes:
    """The second frame of a change notice."""
    return _pack([rev])


# What a client does with bytes.


def encode_content(op: str, args: Mapping[str, Any]) -> bytes:
    """Op and args, packed, ready to be framed alone or in a pipeline.

    Raises:
        InvalidRequest: a value cannot be sent: a lone surrogate, an integer beyond 64 bits, or a
            type that msgpack does not know.
    """
    try:
        return (_PACKED_OPS.get(op) or _pack(op)) + _pack(args)
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"a text of {op} holds {error.object[error.start]!r} at position {error.start}, which"
            " is no character: it was made of bytes that are not UTF-8; allowed is text"
        ) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidRequest(f"arguments of {op} cannot be sent: {error}") from error


def encode_request(
    client_id: bytes, seq: int, acked: int, content: bytes, full: bool = False
) -> bytes:
    """The frame that asks for one packed `content`; `full` asks for durability full."""
    if full:
        return _head(_FULL_HEAD, client_id, _UINT64, seq, _UINT64, acked) + content + _FULL_OPTIONS
    return _head(_HEAD, client_id, _UINT64, seq, _UINT64, acked) + content


def encode_pipeline(contents: Sequence[bytes]) -> bytes:
    """Several packed contents as the content of one `pipeline`."""
    return b"\x92".join((_PIPELINE_HEAD + _array_header(len(contents)), *contents))


def decode_reply(frame: bytes) -> Reply:
    """The reply that `frame` holds.

    Raises:
        InvalidRequest: it is not a reply.
    """
    elements = _unpack(frame)
    # Spelled out: `match` on a sequence takes 3 µs longer, and a client does this for each reply.
    if type(elements) is list and len(elements) >= 4:
        del elements[4:]
        protocol, seq, status, body = elements
        if type(protocol) is type(seq) is type(status) is int and type(body) is dict:
            return new_tuple(Reply, elements)
    raise InvalidRequest(f"reply is {_described(elements)}; it must be [int, int, int, map]")


def good_body(frame: bytes, seq: int) -> dict[str, Any] | None:
    """The body where `frame` is a good reply to `seq` and has no more elements; else None.

    `decode_reply` tells what else it is, in 3,000 instructions more.

    Raises:
        InvalidRequest: it does not decode.
    """
    elements = _unpack(frame)
    if (
        type(elements) is list
        and len(elements) == 4
        and elements[1] == seq
        and elements[0] == PROTOCOL
        and elements[2] == OK
        and type(elements[3]) is dict
    ):
        body: dict[str, Any] = elements[3]
        return body
    return None


def decode_notice(frame: bytes) -> int:
    """The rev that the second frame of a change notice tells.

    Raises:
        InvalidRequest: it is not a notice.
    """
    match _unpack(frame):
        case [int(rev), *_]:
            return rev
    raise InvalidRequest("notice is not [int]")


def _unpack(frame: bytes) -> Any:
    if len(frame) > CONTAINERS_MAX and gc.isenabled():
        # 16 million empty lists took 6 s to unpack with the collector looking at them again and
        # again, and 1 s without.
        gc.disable()
        try:
            return _unpack(frame)
        finally:
            gc.enable()
    try:
        return _unpackb(
            frame,
            strict_map_key=False,
            max_array_len=CONTAINER_ELEMENTS_MAX,
            max_map_len=CONTAINER_ELEMENTS_MAX,
        )
    except Exception as error:
        # The border: msgpack raises ValueError, TypeError (a list for a map's key), its own
        # exceptions, and UnicodeDecodeError; what the bytes were does not matter further.
        why = str(error) or type(error).__name__
        raise InvalidRequest(f"frame of {len(frame)} bytes is not msgpack: {why}") from error


def _check_containers(value: Any) -> None:
    count = 0
    level: list[Any] = [value] if type(value) is list else []
    while level:
        inner = chain.from_iterable(each.values() if type(each) is dict else each for each in level)
        containers = (each for each in inner if type(each) in _CONTAINERS)
        level = [*islice(containers, CONTAINERS_MAX + 1 - count)]
        count += len(level)
        if count > CONTAINERS_MAX:
            raise InvalidRequest(f"request has more than {CONTAINERS_MAX} lists and maps")


def _digest(op: str, args: Mapping[Any, Any]) -> bytes:
    return blake2b(_pack((op, args)), digest_size=_DIGEST_BYTES).digest()


# The args of what a transaction nearly always holds, as a client does well to send them: sorting
# the keys of each command took the daemon a fifth of its time for it.
_SORTED_KEYS = frozenset(
    (
        ("id", "role", "content", "session_id"),
        ("id", "role", "content", "timestamp", "session_id"),
        ("id", "name", "status", "created_at", "updated_at", "working_dir"),
    )
)


def _is_canonical(args: Mapping[Any, Any]) -> bool:
    """Whether `_canonical` would plainly change nothing of a transaction's args."""
    commands = args.get("commands")
    if len(args) != 1 or type(commands) is not list or {*map(type, commands)} != {list}:
        return False
    if {*map(len, commands)} != {2}:
        return False
    ops, inner = zip(*commands, strict=True)
    return (
        {*map(type, ops)} == _TEXT
        and {*map(type, inner)} == {dict}
        and {*map(tuple, inner)} <= _SORTED_KEYS
        and {*map(type, chain.from_iterable(map(dict.values, inner)))} == _TEXT
    )


def _canonical(value: Any, depth: int) -> Any:
    if depth > NESTING_DEPTH_MAX:
        return msgpack.ExtType(0, _flattened(value))
    if type(value) is dict:
        return {
            key: inner if type(inner := value[key]) is str else _canonical(inner, depth + 1)
            for key in sorted(value, key=_pack)
        }
    if type(value) is list:
        return [
            element if type(element) is str else _canonical(element, depth + 1) for element in value
        ]
    return value


def _flattened(value: Any) -> bytes:
    """`value` packed with sorted keys, at any depth: msgpack's packer ends at 511 levels."""
    parts = []
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                parts.append(msgpack.Packer().pack_map_header(len(found)))
                for key in sorted(found, key=_pack, reverse=True):
                    waiting += (found[key], key)
            case list() as found:
                parts.append(_array_header(len(found)))
                waiting += reversed(found)
            case leaf:
                parts.append(_pack(leaf))
    return b"".join(parts)


def _array_header(length: int) -> bytes:
    header: bytes = msgpack.Packer().pack_array_header(length)
    return header


def _described(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case int():
            return "int" if -INTEGER_MAX <= value <= INTEGER_MAX else "an integer beyond 2^53"
        case bytes():
            return f"bin of {len(value)} bytes"
        case list():
            return f"an array of {len(value)} elements"
    return {str: "str", dict: "map", float: "a float", type(None): "nil"}.get(
        type(value), type(value).__name__
    )


_PACKED_OPS = {op: _pack(op) for op in ("message.append", "message.update", "transaction")}
_CLIENT_ID_HEADER = b"\xc4" + bytes((CLIENT_ID_BYTES,))
# Up to the acked seq: half the instructions of packing each number as short as it can be.
_head = Struct(f">4s{CLIENT_ID_BYTES}sBQBQ").pack
_UINT64 = 0xCF
_HEAD = b"\x96" + _pack(PROTOCOL) + _CLIENT_ID_HEADER
_FULL_HEAD = b"\x97" + _pack(PROTOCOL) + _CLIENT_ID_HEADER
_FULL_OPTIONS = _pack({"durability": "full"})
_PIPELINE_HEAD = _pack("pipeline") + b"\x81" + _pack("commands")
