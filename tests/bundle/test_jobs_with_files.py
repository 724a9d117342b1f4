"""A bundle holds all that its receipts name, or is not made: files it cannot hold yet."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.bundle.contents import Contents
from plasm_core.errors import BundleError
from plasm_core.records.files import DEFAULT_FILE_LIMITS, JobFiles
from plasm_core.records.manifest import PROFILE_V2
from plasm_core.testing.claims import receipt
from tests.support.receipts import envelope, manifest


def test_a_job_with_files_is_refused() -> None:
    files = JobFiles(tree="00" * 32, read_only=(), outputs=(), limits=DEFAULT_FILE_LIMITS)
    made = receipt(of=manifest(profile=PROFILE_V2, files=files))
    made = attrs.evolve(made, result=attrs.evolve(made.result, gas_schedule="plasm.gas/v2"))

    with pytest.raises(BundleError, match="has files, which a bundle cannot hold"):
        Contents.gathered([envelope(made).to_json()], [])
