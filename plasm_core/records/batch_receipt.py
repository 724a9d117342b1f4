"""The receipt of a batch: an in-toto Statement v1 over the Merkle tree of its jobs' receipts.

Leaf N is of job N: the leaf's data are the bytes that the node signed (the DSSE pre-authentication encoding of the
receipt), or nothing if the job has no receipt.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records import merkle
from plasm_core.records.converter import encode_json, parse_json, structure, unstructure
from plasm_core.records.envelope import Envelope
from plasm_core.records.fields import constrained, counter, digest, one_of, timestamp
from plasm_core.records.receipt import STATEMENT_TYPE

BATCH_PREDICATE_TYPE = "urn:phase:batch:v0"
MAX_BATCH_STATEMENT_BYTES = 64 << 10
_NAME = "receipts"


def leaf_of(envelope_json: bytes | None) -> bytes:
    """Return the leaf hash of a job's receipt, or of none. Raises: `InvalidRecordError`."""
    if envelope_json is None:
        return NO_RECEIPT
    return merkle.leaf_hash(Envelope.from_json(envelope_json).signed_bytes)


NO_RECEIPT = merkle.leaf_hash(b"")
"""The leaf hash of a job without a receipt."""


@attrs.frozen(kw_only=True)
class _MerkleDigest:
    json_open = True

    rfc6962_sha256: str = constrained(digest(), name="rfc6962Sha256")


@attrs.frozen(kw_only=True)
class _BatchSubject:
    json_open = True

    name: str = constrained(one_of(_NAME))
    digest: _MerkleDigest


@attrs.frozen(kw_only=True)
class BatchPredicate:
    """The client's word on a batch: its jobs, those with a receipt, those that succeeded, and its module.

    `fan_in`: how many results of another batch each job reduces, 0 if it reduces none.
    """

    json_camel = True
    json_open = True

    jobs: int = constrained(counter(merkle.MAX_LEAVES))
    receipts: int = constrained(counter(merkle.MAX_LEAVES))
    succeeded: int = constrained(counter(merkle.MAX_LEAVES))
    module: str = constrained(digest())
    created_at: datetime = constrained(timestamp())
    fan_in: int = constrained(counter(merkle.MAX_LEAVES), default=0)


@attrs.frozen(kw_only=True)
class BatchStatement:
    """An in-toto Statement v1 whose subject is the root of the tree and whose predicate is a batch's."""

    json_camel = True
    json_open = True

    type_: str = constrained(one_of(STATEMENT_TYPE), name="_type")
    subject: tuple[_BatchSubject, ...]
    predicate_type: str = constrained(one_of(BATCH_PREDICATE_TYPE))
    predicate: BatchPredicate


@attrs.frozen(kw_only=True)
class BatchReceipt:
    """The root over the receipts of a batch, 32 bytes, and the client's statements about the batch."""

    root: bytes
    predicate: BatchPredicate

    def to_statement(self) -> bytes:
        """Encode as the in-toto Statement that gets signed."""
        subject: Any = {"name": _NAME, "digest": {"rfc6962Sha256": self.root.hex()}}
        return encode_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject],
                "predicateType": BATCH_PREDICATE_TYPE,
                "predicate": unstructure(self.predicate),
            }
        )

    @classmethod
    def from_statement(cls, data: bytes) -> BatchReceipt:
        """Parse a statement. Raises: `InvalidRecordError`."""
        value = parse_json(data, record="batch receipt", maximum=MAX_BATCH_STATEMENT_BYTES)
        found = structure(value, BatchStatement, record="batch receipt")
        if len(found.subject) != 1:
            raise InvalidRecordError("batch receipt", [("subject", "expected one")])
        said = found.predicate
        if not said.succeeded <= said.receipts <= said.jobs:
            raise InvalidRecordError("batch receipt", [("predicate", "more receipts than jobs")])
        return cls(root=bytes.fromhex(found.subject[0].digest.rfc6962_sha256), predicate=said)
