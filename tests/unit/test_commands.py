"""What each op's args must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luludb.commands import (
    COMMAND_OPS,
    CONTROL_OPS,
    AppendMessage,
    CreateSession,
    DeleteMessage,
    DeleteSession,
    Transaction,
    UpdateMessage,
    UpdateSession,
    check_no_args,
    check_options,
    parse_command,
    split_pipeline,
)
from luludb.errors import InvalidRequest, LuludbError, TooLarge, UnknownOp

CREATE = ["session.create", {"name": "n", "working_dir": "/w"}]


@pytest.mark.parametrize(
    ("op", "args", "command"),
    [
        (
            "session.create",
            {"name": "n", "working_dir": "/w"},
            CreateSession(None, "n", "/w", "created", None, None),
        ),
        (
            "session.create",
            {"id": "i", "name": "n", "working_dir": "/w", "status": "s"},
            CreateSession("i", "n", "/w", "s", None, None),
        ),
        ("session.update", {"id": "i", "name": "n"}, UpdateSession("i", "n", None, None)),
        ("session.delete", {"id": "i"}, DeleteSession("i")),
        (
            "message.append",
            {"session_id": "s", "role": "r", "content": ""},
            AppendMessage(None, "s", "r", "", None),
        ),
        ("message.update", {"id": "i", "content": "c\0"}, UpdateMessage("i", "c\0")),
        ("message.delete", {"id": "i"}, DeleteMessage("i")),
        (
            "transaction",
            {"commands": [["session.delete", {"id": "i"}, "more"]]},
            Transaction((DeleteSession("i"),)),
        ),
    ],
)
def test_parse_command_gives_the_command(op, args, command):
    assert parse_command(op, args) == command


def test_times_are_made_canonical():
    command = parse_command(
        "session.create",
        {"name": "n", "working_dir": "/w", "created_at": "2026-01-02T03:04:05Z"},
    )

    assert command.created_at == "2026-01-02T03:04:05.000000+00:00"


@pytest.mark.parametrize("op", ["", "ping", "pipeline", "Session.create", "session"])
def test_an_op_that_is_no_command_is_unknown(op):
    with pytest.raises(UnknownOp) as refused:
        parse_command(op, {})

    for known in COMMAND_OPS:
        assert known in refused.value.message


@pytest.mark.parametrize(
    ("key", "characters_max"), [("name", 4096), ("working_dir", 4096), ("status", 64), ("id", 128)]
)
def test_lengths_are_bound_in_characters(key, characters_max):
    args = {"name": "n", "working_dir": "/w"}

    assert parse_command("session.create", {**args, key: "🦊" * characters_max})
    with pytest.raises(InvalidRequest, match=f"{characters_max + 1} .* 1 to {characters_max}"):
        parse_command("session.create", {**args, key: "x" * (characters_max + 1)})
    with pytest.raises(InvalidRequest, match="0 characters"):
        parse_command("session.create", {**args, key: ""})


@pytest.mark.parametrize("index", [0, 1, 4])
def test_a_transactions_refusal_tells_the_place(index):
    commands = [CREATE] * 5
    commands[index] = ["session.create", {"name": "n"}]

    with pytest.raises(InvalidRequest) as refused:
        parse_command("transaction", {"commands": commands})

    assert refused.value.details == {"index": index}
    assert refused.value.message == "argument working_dir is missing"


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_transaction_may_have_1_to_10000_commands(size):
    assert len(parse_command("transaction", {"commands": [CREATE] * size}).commands) == size


@pytest.mark.parametrize("size", [0, 10_001])
def test_a_transaction_of_another_length_is_invalid(size):
    with pytest.raises(InvalidRequest, match=f"a list of {size}; allowed is .* 1 to 10000"):
        parse_command("transaction", {"commands": [CREATE] * size})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(
    ["id", "name", "working_dir", "status", "created_at", "session_id", "content", "commands"]
)


@given(
    st.sampled_from(COMMAND_OPS) | st.text(),
    st.dictionaries(KEYS | st.text() | st.integers(), ANYTHING, max_size=5),
)
def test_any_args_give_a_command_or_a_short_refusal(op, args):
    try:
        parse_command(op, args)
    except LuludbError as error:
        assert error.code in ("invalid", "unknown_op")
        assert len(error.message) < 500


# Options.


@pytest.mark.parametrize(
    ("options", "durability"),
    [
        ({}, None),
        ({"durability": "full"}, "full"),
        ({"durability": "normal"}, "normal"),
        ({"colour": "red"}, None),
        ({"colour": "red", "durability": "full", 1: 2}, "full"),
    ],
)
def test_options_tell_the_durability_and_unknown_keys_are_ignored(options, durability):
    assert check_options(options) == durability


@pytest.mark.parametrize(
    "options", [None, [], "", 0, False, ["durability"], {"durability": "most"}, {"durability": []}]
)
def test_other_options_are_invalid(options):
    with pytest.raises(InvalidRequest):
        check_options(options)


# Pipelines.


def test_split_pipeline_gives_each_command_unlooked_at():
    args = {"commands": [CREATE, ["what", {"bad": 1}], ["transaction", {"commands": 7}]]}

    assert split_pipeline(args) == [
        tuple(CREATE),
        ("what", {"bad": 1}),
        ("transaction", {"commands": 7}),
    ]


@pytest.mark.parametrize("op", sorted({*CONTROL_OPS, "pipeline"}))
def test_a_pipeline_holds_no_pipeline_and_no_control_request(op):
    with pytest.raises(InvalidRequest) as refused:
        split_pipeline({"commands": [CREATE, [op, {}]]})

    assert refused.value.details == {"index": 1}


@pytest.mark.parametrize("size", [0, 257])
def test_a_pipeline_of_another_length_is_invalid(size):
    with pytest.raises(InvalidRequest, match="1 to 256"):
        split_pipeline({"commands": [CREATE] * size})


def test_a_frame_may_hold_10000_commands_and_no_more():
    def transaction(size):
        return ["transaction", {"commands": [CREATE] * size}]

    assert split_pipeline({"commands": [transaction(9_999), CREATE]})
    with pytest.raises(TooLarge, match="10001 commands; the most is 10000"):
        split_pipeline({"commands": [transaction(10_000), CREATE]})


def test_a_control_request_takes_no_args():
    check_no_args("ping", {})
    with pytest.raises(InvalidRequest, match="'depth'"):
        check_no_args("ping", {"depth": 1})
