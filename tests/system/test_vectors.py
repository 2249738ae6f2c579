"""docs/protocol-vectors.json is what a daemon answers, and what a client of ours understands."""

import json

from luludb.commands import CONTROL_OPS, OP_OF_COMMAND, PIPELINE, TRANSACTION
from luludb.wire import decode_notice, decode_reply, decode_request
from luludb_client.zmtp import Decoder
from scripts.vectors import FILE, REQUESTS, make_vectors, text_of


def shown():
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_the_vectors_in_the_documentation_are_those_of_this_daemon():
    assert FILE.read_text(encoding="utf-8") == text_of(make_vectors()), (
        "run: python -m scripts.vectors"
    )


def test_every_op_has_a_vector():
    named = {decode_request(bytes.fromhex(e["request"])).op for e in shown()["exchanges"][:-1]}

    assert named >= {*OP_OF_COMMAND.values(), TRANSACTION, PIPELINE, *CONTROL_OPS}


def test_the_wire_module_reads_what_the_vectors_mean():
    for exchange, request in zip(shown()["exchanges"], REQUESTS, strict=True):
        if len(request.elements) >= 6:
            decoded = decode_request(bytes.fromhex(exchange["request"]))
            assert [*decoded][: len(request.elements)] == request.elements
        if exchange["reply"] is not None:
            assert [*decode_reply(bytes.fromhex(exchange["reply"]))] == exchange["reply_means"]
    assert decode_notice(bytes.fromhex(shown()["notice"]["frame"])) == 2


def test_the_zmtp_vectors_are_read_by_our_own_decoder():
    zmtp = shown()["zmtp"]
    decoder = Decoder()

    messages = decoder.feed(bytes.fromhex(zmtp["dealer_opening"] + zmtp["frame_of_ping"]))

    assert messages == [(bytes.fromhex(shown()["exchanges"][1]["request"]),)]
