"""The numbers of tests/vectors/client_constants.json, which PHP's client keeps too, are this client's."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

_VECTORS = Path(__file__).parents[1] / "vectors" / "client_constants.json"
_CONSTANTS = json.loads(_VECTORS.read_bytes())["constants"]


@pytest.mark.parametrize("constant", _CONSTANTS, ids=[constant["name"] for constant in _CONSTANTS])
def test_a_constant_of_all_clients_has_its_value_here(constant: dict[str, Any]) -> None:
    module, _, name = constant["python"].partition(":")

    assert vars(importlib.import_module(module))[name] == constant["value"]
