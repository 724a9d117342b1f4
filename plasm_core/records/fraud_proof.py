"""The fraud proof: signed receipts of one task, of which at least one is false, and the inputs to run the task again.

It names no liar. Which node lied follows from the receipts and from another run of the task (docs/fraud-proofs.md).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records.converter import encode_json, parse_json
from plasm_core.records.envelope import Envelope, decode_base64
from plasm_core.records.plan import MAX_EXECUTIONS

FRAUD_PROOF_FORMAT = "plasm.fraud-proof/v0"
MAX_FRAUD_PROOF_BYTES = 16 << 20
MAX_INPUT_BYTES = 10 << 20
"""The most that the inputs of one proof may have together, before base64."""
MAX_RECEIPTS = MAX_EXECUTIONS
INPUTS = ("module", "args", "env", "stdin")
"""The inputs of a task, as `Asked` names their digests. Arguments and environment are lists (docs/protocol.md)."""


@attrs.frozen(kw_only=True)
class FraudProof:
    """Receipts of one task, in envelopes, and the available inputs of the task, by their names in `INPUTS`."""

    envelopes: tuple[Envelope, ...] = attrs.field(
        validator=[attrs.validators.min_len(1), attrs.validators.max_len(MAX_RECEIPTS)]
    )
    inputs: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)

    def to_json(self) -> bytes:
        """Encode the proof."""
        return encode_json(
            {
                "format": FRAUD_PROOF_FORMAT,
                "receipts": [envelope.to_dict() for envelope in self.envelopes],
                "inputs": {
                    name: base64.b64encode(self.inputs[name]).decode()
                    for name in INPUTS
                    if name in self.inputs
                },
            }
        )

    @classmethod
    def from_json(cls, data: bytes) -> FraudProof:
        """Read a proof. Unknown fields are ignored. Raises: `InvalidRecordError`."""
        value = parse_json(data, record="fraud proof", maximum=MAX_FRAUD_PROOF_BYTES)
        if not isinstance(value, dict) or value.get("format") != FRAUD_PROOF_FORMAT:
            raise _invalid("format", f"expected {FRAUD_PROOF_FORMAT}")
        listed, given = value.get("receipts"), value.get("inputs", {})
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_RECEIPTS:
            raise _invalid("receipts", f"expected a list of 1 to {MAX_RECEIPTS} envelopes")
        if not isinstance(given, dict):
            raise _invalid("inputs", "expected an object")
        return cls(
            envelopes=tuple(_envelope(number, item) for number, item in enumerate(listed)),
            inputs={name: _input(name, given[name]) for name in INPUTS if name in given},
        )


def _envelope(number: int, value: Any) -> Envelope:
    try:
        return Envelope.from_value(value)
    except InvalidRecordError as exc:
        raise _invalid(f"receipts[{number}]", str(exc)) from None


def _input(name: str, value: Any) -> bytes:
    try:
        return decode_base64(value)
    except ValueError as exc:
        raise _invalid(f"inputs.{name}", str(exc)) from None


def _invalid(where: str, problem: str) -> InvalidRecordError:
    return InvalidRecordError("fraud proof", [(where, problem)])
