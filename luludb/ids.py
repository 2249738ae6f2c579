"""UUIDv7 text (RFC 9562, section 5.7): ids that rise with time, so rows arrive in key order."""

from __future__ import annotations

import os
import time
from random import Random

# Ids have to be unique and are no secrets. os.urandom gives up the interpreter's lock for its
# system call, which cost a client with a second thread 20 µs an id.
_random = Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)
_random_bits = _random.getrandbits


def new_id() -> str:
    """A new UUIDv7 as 36 characters, with the sub-millisecond part of the clock in rand_a.

    RFC 9562, section 6.2, method 3: twelve bits of rand_a hold the fraction of a millisecond,
    which orders the ids that one process makes to about a quarter of a microsecond.
    """
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    head = (milliseconds & ((1 << 48) - 1)) << 16 | 7 << 12 | fraction
    text = f"{head:016x}{2 << 62 | _random_bits(62):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_client_id() -> bytes:
    """The 16 random bytes by which one client is known."""
    return os.urandom(16)


def new_random_id() -> str:
    """32 random hexadecimal characters, for a database or a boot."""
    return os.urandom(16).hex()
