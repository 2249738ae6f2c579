"""The error tree: a code for each, a class for most, and what each says about sending again."""

import inspect

import pytest

import luludb.errors as errors_module
from luludb.errors import (
    ORDER_CODES,
    PASSING_CODES,
    WIRE_CODES,
    AlreadyExists,
    InvalidRequest,
    LuludbError,
    NotFound,
    OutcomeUnknown,
    OutOfOrder,
    error_from_body,
)

CODES = """
invalid unknown_op unsupported_protocol unknown_client stale_connection out_of_order
sequence_reused too_large not_found already_exists busy overloaded disk_full shutting_down internal
"""
PROMISED_WIRE_CODES = set(CODES.split())


def classes():
    return [
        found
        for _, found in inspect.getmembers(errors_module, inspect.isclass)
        if issubclass(found, Exception)
    ]


def test_the_codes_of_the_wire_are_those_that_are_promised():
    assert set(WIRE_CODES) == PROMISED_WIRE_CODES
    assert len(WIRE_CODES) == 15


def test_passing_and_order_codes_are_those_that_consume_no_seq():
    assert {"busy", "overloaded", "disk_full", "shutting_down"} == PASSING_CODES
    assert {
        "unsupported_protocol",
        "unknown_client",
        "stale_connection",
        "out_of_order",
        "sequence_reused",
    } == ORDER_CODES


def test_every_error_derives_from_the_base_and_has_a_code_of_its_own():
    assert all(issubclass(found, LuludbError) for found in classes())
    codes = [found.code for found in classes()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("name", ["InvalidRequest", "NotFound"])
def test_some_are_built_in_errors_too(name):
    expected = {"InvalidRequest": ValueError, "NotFound": LookupError}[name]

    assert issubclass(getattr(errors_module, name), expected)


@pytest.mark.parametrize("code", sorted(PROMISED_WIRE_CODES))
def test_a_body_becomes_the_error_of_its_code_and_back(code):
    body = {"code": code, "message": "found this; that is allowed", "index": 3}

    error = error_from_body(body)

    assert error.code == code
    assert str(error) == error.message == "found this; that is allowed"
    assert error.details == {"index": 3}
    assert error.body() == body


def test_a_code_that_is_not_known_is_the_base_itself():
    error = error_from_body({"code": "tired", "message": "later"})

    assert type(error) is LuludbError
    assert error.code == "tired"


@pytest.mark.parametrize(
    "body",
    [{}, {"code": None}, {"code": 7, "message": ["x"]}, {1: 2}, {"code": [], "self": 1}],
)
def test_a_body_of_another_shape_is_an_error_all_the_same(body):
    error = error_from_body(body)

    assert isinstance(error, LuludbError)
    assert error.message


def test_details_keep_what_the_reply_said():
    assert error_from_body({"code": "out_of_order", "message": "m", "expected": 7}).details == {
        "expected": 7
    }
    assert isinstance(error_from_body({"code": "out_of_order", "message": "m"}), OutOfOrder)
    assert isinstance(error_from_body({"code": "not_found", "message": "m"}), NotFound)
    assert isinstance(error_from_body({"code": "already_exists", "message": "m"}), AlreadyExists)
    assert isinstance(error_from_body({"code": "invalid", "message": "m"}), InvalidRequest)


def test_an_unknown_outcome_carries_seq_and_id():
    error = OutcomeUnknown("no answer", seq=7, id="m")

    assert (error.seq, error.id, error.code) == (7, "m", "outcome_unknown")


def test_each_error_says_in_one_sentence_when_it_comes():
    for found in classes():
        sentence = inspect.getdoc(found).splitlines()[0]
        assert sentence.startswith(("Base", "Is returned when", "Is raised when")), found
