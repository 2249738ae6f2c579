"""Requests made by hand, and what a refusal must be."""

from tests.peer import pack

SESSION = {"name": "n", "working_dir": "/w"}


CREATE = ["session.create", SESSION]


def nested(depth, inner=None):
    """msgpack of lists in lists, made by hand since msgpack's own packer stops at 511."""
    return b"\x91" * depth + pack(inner)


def frame_of(peer, *, seq=1, acked=0, op="session.create", args=b"", options=b""):
    """A request whose args, and options, are packed already."""
    count = b"\x97" if options else b"\x96"
    return b"".join(
        (count, pack(1), pack(peer.client_id), pack(seq), pack(acked), pack(op), args, options)
    )


def refused(peer, frame, *, code="invalid", seq=0):
    peer.send_frame(frame)
    answer = peer.receive()
    assert (answer.seq, answer.status, answer.body["code"]) == (seq, 1, code), answer
    return answer
