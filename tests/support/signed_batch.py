"""A batch that a client signed, of receipts that a node signed."""

from __future__ import annotations

from plasm_core.records import Envelope, merkle, sha256
from plasm_core.records.batch_document import BatchDocument, SignedBatch
from plasm_core.records.batch_receipt import NO_RECEIPT, BatchPredicate, BatchReceipt, leaf_of
from plasm_core.records.envelope import PAYLOAD_TYPE, Signature, key_id, pae
from plasm_core.testing.claims import MOMENT, SIGNER, receipt


def signed_receipt() -> bytes:
    """Return a node's envelope."""
    statement = receipt().to_statement()
    signature = Signature(key_id="", sig=SIGNER.sign(pae(PAYLOAD_TYPE, statement)))
    return Envelope(payload=statement, signatures=(signature,)).to_json()


def batch(jobs: int) -> BatchDocument:
    """Return a signed batch whose even jobs have a receipt."""
    leaves = [leaf_of(signed_receipt()) if number % 2 == 0 else NO_RECEIPT for number in range(jobs)]
    there = sum(leaf != NO_RECEIPT for leaf in leaves)
    said = BatchPredicate(jobs=jobs, receipts=there, succeeded=there, module=sha256(b"m"), created_at=MOMENT)
    statement = BatchReceipt(root=merkle.root(leaves), predicate=said).to_statement()
    key = SIGNER.peer_id.public_key
    signature = Signature(key_id=key_id(key), sig=SIGNER.sign(pae(PAYLOAD_TYPE, statement)))
    return BatchDocument(signed=SignedBatch(payload=statement, signatures=(signature,)), leaves=tuple(leaves))
