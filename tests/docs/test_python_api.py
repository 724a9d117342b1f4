"""The page of the Python API has every call, each with an example; tests/docs/test_blocks.py runs them."""

from __future__ import annotations

import pytest

import plasm_core
from docs.generate import python_api


@pytest.mark.parametrize("name", python_api.METHODS)
def test_every_call_has_an_example(name: str) -> None:
    assert python_api.has_example(python_api.METHODS[name]), (
        f"the docstring of {name} has no indented example"
    )


def test_every_public_name_is_on_the_page() -> None:
    page = python_api.render()

    assert [name for name in plasm_core.__all__ if not name.startswith("_") and name not in page] == [
        "hookimpl"
    ]
