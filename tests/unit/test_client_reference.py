"""docs/client.md is what the docstrings of the client say now."""

import luludb_client
from scripts.client_reference import FILE, make_reference


def test_the_reference_of_the_client_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == make_reference(), (
        "run: python -m scripts.client_reference"
    )


def test_the_reference_has_every_public_name():
    text = FILE.read_text(encoding="utf-8")

    assert [name for name in luludb_client.__all__ if name not in text] == []
