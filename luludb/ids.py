"""UUIDv7 text (RFC 9562, section 5.7): ids that rise with time, so rows arrive in key order."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A new UUIDv7 as 36 characters, with the sub-millisecond part of the clock in rand_a.

    RFC 9562, section 6.2, method 3: twelve bits of rand_a hold the fraction of a millisecond,
    which orders the ids that one process makes to about a quarter of a microsecond.
    """
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
    value = (milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_client_id() -> bytes:
    """The 16 random bytes by which one client is known."""
    return os.urandom(16)


def new_random_id() -> str:
    """32 random hexadecimal characters, for a database or a boot."""
    return os.urandom(16).hex()
