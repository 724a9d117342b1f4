"""Numbers with units and durations are read in the same words by the command line and PHP."""

from __future__ import annotations

import json

import click
import pytest

from plasm_core.cli import option_values
from tests.support.receipts import ROOT

VECTORS = json.loads((ROOT / "tests" / "vectors" / "quantities.json").read_text())
CASES = [(kind, case["text"], case["value"]) for kind in VECTORS for case in VECTORS[kind]]


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
def test_a_text_is_read_as_its_vector_says(kind: str, text: str, value: int | None) -> None:
    read = option_values.quantity if kind == "numbers" else option_values.seconds
    if value is None:
        with pytest.raises(click.BadParameter):
            read(text, what="it")
    else:
        assert read(text, what="it") == value
