"""Attempts of a hostile worker in a process of their own, and which layers that process could not have."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.support.users import interpreter_of


@functools.cache
def reported(user: str, *arguments: str) -> dict[str, Any]:
    """Return what came of attempts, made as a user."""
    done = interpreter_of(user).run("-m", "tests.support.hostile", *arguments)
    assert not done.returncode, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def needs(layer: str, user: str = "root") -> None:
    """Skip the test where a layer cannot be had."""
    missing = reported(user)["missing"]
    if layer in missing:
        pytest.skip(f"no {layer} here: {missing[layer]}")
