"""The files about a batch: `batch.json` with all leaves of its tree, and the proof that one job belongs to it."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records import merkle
from plasm_core.records.batch_receipt import NO_RECEIPT, BatchReceipt, leaf_of
from plasm_core.records.converter import parse_json
from plasm_core.records.envelope import MAX_SIGNATURES, PAYLOAD_TYPE, Envelope, Signature, decode_base64, pae

BATCH_FORMAT, PROOF_FORMAT = "plasm.batch/v0", "plasm.batch-proof/v0"
MAX_BATCH_BYTES = 1 << 30
_MAX_PROOF = 32


@attrs.frozen(kw_only=True)
class SignedBatch:
    """A batch receipt as bytes, with its signatures: none, if the client that ran the batch has no key."""

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that each signature is over."""
        return pae(PAYLOAD_TYPE, self.payload)

    @property
    def receipt(self) -> BatchReceipt:
        """The batch receipt. Raises: `InvalidRecordError`."""
        return BatchReceipt.from_statement(self.payload)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, the form of a DSSE envelope."""
        signatures = [
            {"keyid": item.key_id, "sig": base64.b64encode(item.sig).decode()} for item in self.signatures
        ]
        payload = base64.b64encode(self.payload).decode()
        return {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": signatures}

    @classmethod
    def from_dict(cls, value: Any) -> SignedBatch:
        """Read it. Raises: `InvalidRecordError`."""
        if not isinstance(value, dict) or value.get("payloadType") != PAYLOAD_TYPE:
            raise _invalid("batch", f"expected an envelope of {PAYLOAD_TYPE}")
        if value.get("signatures") == []:
            try:
                return cls(payload=decode_base64(value.get("payload")))
            except ValueError as exc:
                raise _invalid("batch.payload", str(exc)) from None
        if not isinstance(value.get("signatures"), list) or len(value["signatures"]) > MAX_SIGNATURES:
            raise _invalid("batch.signatures", "expected a list")
        envelope = Envelope.from_json(json.dumps(value).encode())
        return cls(payload=envelope.payload, signatures=envelope.signatures)


@attrs.frozen(kw_only=True)
class BatchDocument:
    """A batch receipt with the leaf hashes of all jobs, in the order of the batch."""

    signed: SignedBatch
    leaves: tuple[bytes, ...] = attrs.field(repr=False)

    def to_json(self) -> bytes:
        """Encode it."""
        value = {
            "format": BATCH_FORMAT,
            "batch": self.signed.to_dict(),
            "leaves": [leaf.hex() for leaf in self.leaves],
        }
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> BatchDocument:
        """Read it. Raises: `InvalidRecordError`."""
        return cls(
            signed=SignedBatch.from_dict(value.get("batch")),
            leaves=_hashes(value, "leaves", merkle.MAX_LEAVES),
        )

    def problems(self) -> list[str]:
        """Return why receipt and leaves contradict each other, nothing if they do not. Raises: `InvalidRecordError`."""
        found, said = list[str](), self.signed.receipt
        if len(self.leaves) != said.predicate.jobs:
            found.append(f"it has {len(self.leaves)} leaves, and the batch has {said.predicate.jobs} jobs")
        if sum(leaf != NO_RECEIPT for leaf in self.leaves) != said.predicate.receipts:
            found.append("it has another number of receipts than it says")
        if merkle.root(self.leaves) != said.root:
            found.append("the root over its leaves is another than it says")
        return found

    def proof(self, job: int, receipt_json: bytes | None) -> InclusionProof:
        """Return the proof that a job belongs to the batch. Raises: IndexError."""
        path = merkle.inclusion(self.leaves, job)
        return InclusionProof(signed=self.signed, job=job, path=path, receipt_json=receipt_json)


@attrs.frozen(kw_only=True)
class InclusionProof:
    """One job's receipt (None: it has none) with the proof that it is job `job` of a batch."""

    signed: SignedBatch
    job: int
    path: tuple[bytes, ...] = attrs.field(repr=False)
    receipt_json: bytes | None = attrs.field(repr=False)

    def to_json(self) -> bytes:
        """Encode it."""
        value = {
            "format": PROOF_FORMAT,
            "batch": self.signed.to_dict(),
            "job": self.job,
            "inclusion": [item.hex() for item in self.path],
            "receipt": None if self.receipt_json is None else json.loads(self.receipt_json),
        }
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> InclusionProof:
        """Read it. Raises: `InvalidRecordError`."""
        job, receipt = value.get("job"), value.get("receipt")
        if not isinstance(job, int) or isinstance(job, bool) or job < 0:
            raise _invalid("job", "expected a number from 0")
        return cls(
            signed=SignedBatch.from_dict(value.get("batch")),
            job=job,
            path=_hashes(value, "inclusion", _MAX_PROOF),
            receipt_json=None if receipt is None else json.dumps(receipt).encode(),
        )

    def problems(self) -> list[str]:
        """Return why the receipt is not that job's, nothing if it is. Raises: `InvalidRecordError`."""
        said = self.signed.receipt
        leaf = leaf_of(self.receipt_json)
        if merkle.is_included(leaf, self.job, said.predicate.jobs, self.path, said.root):
            return []
        return [f"the proof does not lead from job {self.job} to the root of the batch"]


def read_batch_document(data: bytes) -> BatchDocument | InclusionProof:
    """Read either file. Raises: `InvalidRecordError`."""
    value = parse_json(data, record="batch", maximum=MAX_BATCH_BYTES)
    kind = value.get("format") if isinstance(value, dict) else None
    if kind == BATCH_FORMAT:
        return BatchDocument.from_dict(value)
    if kind == PROOF_FORMAT:
        return InclusionProof.from_dict(value)
    raise _invalid("format", f"expected {BATCH_FORMAT} or {PROOF_FORMAT}")


def _hashes(value: dict[str, Any], name: str, maximum: int) -> tuple[bytes, ...]:
    listed = value.get(name)
    if not isinstance(listed, list) or len(listed) > maximum:
        raise _invalid(name, f"expected a list of at most {maximum} hashes")
    found = []
    for index, item in enumerate(listed):
        if not isinstance(item, str) or len(item) != 2 * merkle.HASH_BYTES or item != item.lower():
            raise _invalid(f"{name}[{index}]", "expected 64 lower-case hexadecimal digits")
        try:
            found.append(bytes.fromhex(item))
        except ValueError:
            raise _invalid(f"{name}[{index}]", "expected 64 lower-case hexadecimal digits") from None
    return tuple(found)


def _invalid(where: str, problem: str) -> InvalidRecordError:
    return InvalidRecordError("batch", [(where, problem)])
