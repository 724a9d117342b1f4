"""What contradicts itself is rejected, though its signature is good; what honest nodes produce is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.records import (
    PAYLOAD_TYPE,
    Decision,
    Envelope,
    Manifest,
    Receipt,
    Signature,
    Verdict,
    pae,
)
from plasm_core.records.consistency import contradictions
from plasm_core.records.output import OutputStream
from plasm_core.verification import Expectation, verify
from plasm_signer_ed25519.verifier import SignatureVerifier
from tests.support.receipts import SIGNER, STDOUT, envelope, outputs_of

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors", "consistency.json").read_bytes())["cases"]
NAMES = [case["name"] for case in VECTORS]
TRUST = Expectation(trusted=frozenset({SIGNER.peer_id}))


@pytest.mark.parametrize("case", VECTORS, ids=NAMES)
def test_the_rules_that_a_receipt_breaks_are_named(case: dict[str, Any]) -> None:
    receipt = Receipt.from_statement(case["statement"].encode())
    manifest = Manifest.from_json(case["manifest"].encode())

    assert sorted(contradictions(receipt, manifest)) == case["breaks"]
    without = set(contradictions(receipt))
    assert without == set(case["breaks"]) - {"attempt-within-retries"}


@pytest.mark.parametrize("case", VECTORS, ids=NAMES)
def test_a_valid_signature_does_not_excuse_a_contradiction(case: dict[str, Any]) -> None:
    payload = case["statement"].encode()
    signature = Signature(key_id="", sig=SIGNER.sign(pae(PAYLOAD_TYPE, payload)))
    signed = Envelope(payload=payload, signatures=(signature,))
    expectation = attrs.evolve(TRUST, manifest_json=case["manifest"].encode())

    _, verdict = verify(signed.to_json(), expectation, [SignatureVerifier()])

    assert verdict.decision is (Decision.REJECT if case["breaks"] else Decision.ACCEPT)
    for rule in case["breaks"]:
        assert f"the receipt contradicts itself: {rule}" in verdict.reasons


def test_the_size_of_the_output_is_compared_with_the_receipts() -> None:
    """A digest fixes the bytes, but the receipt may still tell another size."""

    def judged(stream: OutputStream, size_bytes: int) -> Verdict:
        outputs = {**outputs_of(), stream: attrs.evolve(outputs_of()[stream], size_bytes=size_bytes)}
        expectation = attrs.evolve(TRUST, outputs=outputs)
        return verify(envelope().to_json(), expectation, [SignatureVerifier()])[1]

    accepted = judged(OutputStream.STDOUT, len(STDOUT))
    rejected = judged(OutputStream.STDOUT, len(STDOUT) + 1)
    other = judged(OutputStream.STDERR, 1)

    assert accepted.decision is Decision.ACCEPT
    assert rejected.decision is other.decision is Decision.REJECT
    assert rejected.reasons[0].startswith("the size of stdout is not what the receipt says")
