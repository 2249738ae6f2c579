"""Each error has its exit code and one line of words."""

import pytest

from luludb.cli.exits import exit_code, message_of
from luludb.errors import (
    AlreadyExists,
    Busy,
    DaemonUnavailable,
    DataLoss,
    DiskFull,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProtocolMismatch,
    StartRefused,
    StorageFailed,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("x"), 1),
        (NotFound("x"), 1),
        (AlreadyExists("x"), 1),
        (Busy("x"), 1),
        (DiskFull("x"), 1),
        (ProtocolMismatch("x"), 1),
        (StartRefused("x"), 1),
        (FileNotFoundError(2, "No such file or directory", "f"), 1),
        (DaemonUnavailable("x"), 3),
        (OutcomeUnknown("x"), 3),
        (DataLoss("x"), 4),
        (StorageFailed("x"), 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


def test_an_error_of_the_system_names_the_file_where_it_has_one():
    assert message_of(FileNotFoundError(2, "No such file", "a/b")) == "a/b: No such file"
    assert message_of(OSError(28, "No space left")) == "input or output failed: No space left"
