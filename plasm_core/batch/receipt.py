"""Make the receipt of a batch, and verify it with the receipts and outputs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import attrs

from plasm_core.batch.files import files_problems
from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.rows import BatchJobState
from plasm_core.errors import InvalidRecordError, KeyFileError
from plasm_core.input_file import open_input, read_input, read_some
from plasm_core.plugins.interfaces import Signer
from plasm_core.printable import visible
from plasm_core.records import Envelope, PeerId, Receipt
from plasm_core.records.batch_document import BatchDocument, InclusionProof, SignedBatch
from plasm_core.records.batch_receipt import NO_RECEIPT, BatchPredicate, BatchReceipt, leaf_of
from plasm_core.records.consistency import contradictions
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE
from plasm_core.records.merkle import root
from plasm_core.records.output import OutputHasher, OutputStream
from plasm_core.signing import is_signature_of, is_signed_by, sign_batch

RECEIPT_FILE = "receipt.json"


def job_folder(job: int) -> str:
    """Return the name of a job's folder beside `batch.json`."""
    return f"{job:06d}"


def batch_document(folder: BatchFolder, signer: Signer | None) -> BatchDocument:
    """Return the receipt of a batch with all leaves, signed if there is a signer with a key.

    Raises: `InvalidRecordError`, `KeyFileError`, `StorageError`.
    """
    leaves, succeeded, facts = list[bytes](), 0, folder.facts()
    for row in folder.rows():
        leaves.append(leaf_of(row.envelope))
        succeeded += row.state is BatchJobState.SUCCEEDED
    receipt = BatchReceipt(
        root=root(leaves),
        predicate=BatchPredicate(
            jobs=len(leaves),
            receipts=sum(leaf != NO_RECEIPT for leaf in leaves),
            succeeded=succeeded,
            module=facts["module"],
            fan_in=facts.get("fan_in", 0),
            created_at=datetime.now(timezone.utc),
        ),
    )
    has_key = signer is not None and signer.existing_peer_id() is not None
    signed = (
        sign_batch(receipt, signer) if has_key and signer else SignedBatch(payload=receipt.to_statement())
    )
    return BatchDocument(signed=signed, leaves=tuple(leaves))


@attrs.frozen(kw_only=True)
class BatchVerdict:
    """What was found of a batch or of one of its jobs. `problems`: why it is rejected, none if it holds.

    `signed_by`: the trusted key that signed it, None if none has. `checked`: the receipts that were compared.
    """

    problems: tuple[str, ...]
    signed_by: PeerId | None
    checked: int
    job: Receipt | None = None


def verify_batch(
    path: Path, document: BatchDocument, trusted: frozenset[PeerId], job: int | None
) -> BatchVerdict:
    """Verify `batch.json` at a path with the folders of jobs beside it, if there are any: all of them, or one job.

    Raises: `InvalidRecordError`, OSError.
    """
    problems = document.problems()
    chosen = range(len(document.leaves)) if job is None else [job]
    if job is not None and not 0 <= job < len(document.leaves):
        return _verdict(document.signed, [*problems, f"it has no job {job}"], trusted, 0, None)
    has_folders = any((path.parent / job_folder(number)).is_dir() for number in (0, *chosen))
    checked, receipt = 0, None
    if has_folders or job is not None:
        for number in chosen:
            found, receipt = _job_problems(path.parent / job_folder(number), document.leaves[number], number)
            problems += found
            checked += receipt is not None
    return _verdict(document.signed, problems, trusted, checked, receipt if job is not None else None)


def verify_proof(proof: InclusionProof, trusted: frozenset[PeerId]) -> BatchVerdict:
    """Verify that a receipt belongs to a batch. Raises: `InvalidRecordError`."""
    problems, receipt = proof.problems(), None
    if proof.receipt_json is not None:
        found, receipt = _receipt_problems(proof.receipt_json, f"job {proof.job}")
        problems += found
    return _verdict(proof.signed, problems, trusted, int(receipt is not None), receipt)


def _verdict(
    signed: SignedBatch,
    problems: list[str],
    trusted: frozenset[PeerId],
    checked: int,
    receipt: Receipt | None,
) -> BatchVerdict:
    by = None
    for peer in trusted:
        if any(is_signature_of(peer, item.sig, signed.signed_bytes) for item in signed.signatures):
            by = peer
    return BatchVerdict(problems=tuple(problems), signed_by=by, checked=checked, job=receipt)


def _job_problems(place: Path, leaf: bytes, job: int) -> tuple[list[str], Receipt | None]:
    """Return what is wrong with a job's folder, and its receipt. Raises: OSError."""
    name = f"job {job}"
    try:
        data = read_input(place / RECEIPT_FILE, MAX_ENVELOPE_BYTES + 1)
    except FileNotFoundError:
        return ([] if leaf == NO_RECEIPT else [f"{name}: its receipt is missing"]), None
    try:
        if leaf_of(data) != leaf:
            return [f"{name}: its receipt is not the one of the batch"], None
        problems, receipt = _receipt_problems(data, name)
    except InvalidRecordError as exc:
        return [f"{name}: {exc}"], None
    if receipt is not None:
        problems += _output_problems(place, receipt, name)
        problems += files_problems(place, receipt, name)
    return problems, receipt


def _receipt_problems(envelope_json: bytes, name: str) -> tuple[list[str], Receipt]:
    """Return what is wrong with a receipt by itself. Raises: `InvalidRecordError`."""
    envelope = Envelope.from_json(envelope_json)
    receipt = Receipt.from_statement(envelope.payload)
    problems = [f"{name}: its receipt contradicts itself: {rule}" for rule in contradictions(receipt)]
    if envelope.payload_type != PAYLOAD_TYPE:
        problems.append(f"{name}: its receipt has the payloadType {visible(envelope.payload_type[:100])}")
    if not is_signed_by(envelope, receipt.node):
        problems.append(f"{name}: its receipt is not signed by the node that it names")
    return problems, receipt


def _output_problems(place: Path, receipt: Receipt, name: str) -> Iterator[str]:
    for stream in OutputStream:
        path = place / stream.label
        if not path.exists():
            continue
        hasher = OutputHasher()
        with open_input(path) as file:
            while chunk := read_some(file, 1 << 20):
                hasher.update(chunk)
        if hasher.digest != receipt.output(stream):
            yield f"{name}: its {stream.label} is not what the receipt says"


def existing_signer(signer: Signer) -> Signer | None:
    """Return a signer if its key exists and can be used, else None."""
    try:
        return signer if signer.existing_peer_id() is not None else None
    except KeyFileError:
        return None
