"""The vectors of frozen profiles never change: a receipt that was signed under a profile is judged by them for ever.

A correction that would change one gets a profile of its own (docs/determinism.md).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FROZEN = {
    "plasm.det/v1": {
        "determinism.json": "642043358068290208c1ba2c1bc24b6322c0b1f0ff0e0ba01cb42a3d23ada9e4",
        "identities.json": "ffb53867b957f37a9c64ad8a3ce7ffb04f6d8b298b5b8675a8746a56382d1e97",
    },
    "plasm.det/v2": {
        "exceptions.json": "937966bb69413d6831c0d318c7939877d5467fd3b60c12490777e3baeb5bdefa",
        "file_runs.json": "36737100bfee0e91e04d61f3c20ad93840c391443682898d1a769babedadd6ca",
        "files.json": "5a278349e06f03a3335af73b85c96d58605669a830e16bafb2caed1cf12d5458",
    },
}
"""The vectors of each profile, by the SHA-256 of the file."""


@pytest.mark.parametrize("profile", FROZEN)
def test_the_vectors_of_a_frozen_profile_are_those_that_were_frozen(profile: str) -> None:
    found = {name: hashlib.sha256((VECTORS / name).read_bytes()).hexdigest() for name in FROZEN[profile]}

    assert found == FROZEN[profile]


def test_the_runs_of_each_profile_name_it() -> None:
    """A file that is read under another profile would be held to other rules."""
    names = {"plasm.det/v1": "determinism.json", "plasm.det/v2": "file_runs.json"}

    for profile, name in names.items():
        assert json.loads((VECTORS / name).read_text(encoding="utf-8"))["profile"] == profile
