"""What runs the vectors where no sandbox can be had finds the same."""

from __future__ import annotations

import os
import sys

import pytest

from tests.agreement.bare import FIELDS, BareChild
from tests.agreement.vectors import document

NAMES = (
    "wat/echo a  zwei Wörter (all)",
    "wat/exit 4294967295",
    "wat/machine (seed)",
    "wat/start_section exits",
    "wat/traps g",
    "wat/output 5001 0 (limit 5000)",
    "wat/exit 0 (too little gas)",
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it keeps standard input in a memfd")


def test_a_vector_comes_to_the_same_without_a_sandbox() -> None:
    cases = {case["name"]: case for case in document()["cases"]}
    path = [item for item in sys.path if os.path.isabs(item)]

    with BareChild([sys.executable, "-S"], path, deadline_s=60) as child:
        found = {name: child.observe(cases[name]) for name in NAMES}

    assert found == {name: {field: cases[name][field] for field in FIELDS} for name in NAMES}
    assert len({observed["outcome"]["kind"] for observed in found.values()}) == 4
