"""Ids: UUIDv7 text that rises with time, and random names."""

import os
import time
import uuid

from luludb.ids import new_client_id, new_id, new_random_id


def test_new_id_is_a_uuid_of_version_7():
    id = new_id()

    assert id == str(uuid.UUID(id))
    assert uuid.UUID(id).version == 7
    assert uuid.UUID(id).variant == uuid.RFC_4122


def test_new_id_begins_with_the_time_in_milliseconds():
    before = time.time_ns() // 1_000_000
    found = uuid.UUID(new_id()).int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= found <= after


def test_new_ids_differ_and_rise_with_the_clock():
    ids = []
    for _ in range(2000):
        started_ns = time.time_ns()
        ids.append(new_id())
        while time.time_ns() < started_ns + 1000:
            pass  # the fraction of a millisecond counts a quarter of a microsecond

    assert ids == sorted(ids)
    assert len(set(ids)) == 2000


def test_a_client_id_is_16_random_bytes():
    assert len({new_client_id() for _ in range(100)}) == 100
    assert {len(new_client_id()) for _ in range(100)} == {16}


def test_a_random_id_is_32_hexadecimal_characters():
    assert len(new_random_id()) == 32
    assert bytes.fromhex(new_random_id()) != bytes.fromhex(new_random_id())


def test_a_forked_child_makes_ids_of_its_own() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_id()[-12:].encode())
        os._exit(0)
    os.waitpid(child, 0)
    try:
        assert os.read(reader, 12).decode() != new_id()[-12:]
    finally:
        os.close(reader)
        os.close(writer)
