"""Make fraud proofs from receipts, and keep them in private files, bounded in number and bytes."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from plasm_core.client.submission import Submission
from plasm_core.errors import PlasmError, ProofRefusedError
from plasm_core.fraud import Finding, compare, convict, normal_form, signed_receipt
from plasm_core.paths import private_directory, state_directory
from plasm_core.records.claim import Laboratory
from plasm_core.records.digest import sha256
from plasm_core.records.envelope import Envelope
from plasm_core.records.fraud_proof import MAX_FRAUD_PROOF_BYTES, MAX_INPUT_BYTES
from plasm_core.records.verdict import Decision

log = logging.getLogger(__name__)

MAX_FILES = 256
MAX_BYTES = 256 << 20


def directory_of_proofs() -> Path:
    """Return the directory in which this user's clients keep fraud proofs."""
    return state_directory() / "fraud-proofs"


def inputs_of(job: Submission) -> dict[str, bytes]:
    """Return a job's inputs for a proof, but for those that are too large for one. Raises: OSError."""
    found: dict[str, bytes] = {}
    left = MAX_INPUT_BYTES
    for channel, source in sorted(job.sources.items(), key=lambda item: item[1].size_bytes):
        if 0 < source.size_bytes <= left:
            found[channel.label] = source.read(0, source.size_bytes)
            left -= source.size_bytes
    return found


def keep_proof(
    envelopes: Sequence[Envelope],
    inputs: Mapping[str, bytes] | Submission | None = None,
    *,
    directory: Path | None = None,
) -> Path | None:
    """Make a fraud proof and keep it. Return its file; None if there is none, which the log explains.

    `envelopes`: two receipts of one task that differ, or one that a run of the task on this machine contradicts.
    `inputs`: the job, or its inputs by their names in `records.fraud_proof.INPUTS`. Without them the proof is complete
    only for those who have them. The same receipts give the same file. If there are more than `MAX_FILES`, or more
    than `MAX_BYTES` in all, the oldest are deleted.

    The file has the job's inputs: everybody who has the file can read them.
    """
    try:
        given = inputs_of(inputs) if isinstance(inputs, Submission) else dict(inputs or {})
        proof = normal_form(envelopes, given)
        data = proof.to_json()
        if len(data) > MAX_FRAUD_PROOF_BYTES:
            proof = attrs.evolve(proof, inputs={})
            data = proof.to_json()
        task = signed_receipt(proof.envelopes[0]).asked.task_digest
    except (ProofRefusedError, OSError) as exc:
        log.warning("no fraud proof made reason=%s", exc)
        return None
    name = f"{task[:16]}-{sha256(b''.join(item.signed_bytes for item in proof.envelopes))[:16]}.json"
    place = directory or directory_of_proofs()
    try:
        path = _store(place, name, data)
    except (OSError, PlasmError) as exc:
        log.warning("fraud proof not kept task=%s reason=%s", task, exc)
        return None
    log.warning("fraud proof kept task=%s file=%s", task, path)
    return path


def prosecute(
    envelopes: Sequence[Envelope],
    job: Mapping[str, bytes] | Submission | None,
    laboratory: Laboratory | None,
    *,
    directory: Path | None = None,
) -> tuple[Path | None, Finding]:
    """Find out which nodes signed false receipts of one task, and keep the proof. Return its file and the finding.

    A proof is kept if it convicts a node, or if the receipts differ and this machine could not run the task to find
    the liar: another machine may. `envelopes`, `job`: as `keep_proof`; `laboratory`: can run the task with the job's
    inputs; None if the inputs are missing. It runs the task again on up to two engines: call it in a thread.
    """
    try:
        proof = normal_form(envelopes, {})
        differ = compare(proof).differ
    except ProofRefusedError as exc:
        return None, Finding(decision=Decision.REJECT, reasons=(str(exc),), code=exc.code)
    finding = convict(proof, laboratory)
    if finding.decision is not Decision.ACCEPT and not (differ and finding.decision is Decision.UNDECIDED):
        return None, finding
    return keep_proof(proof.envelopes, job, directory=directory), finding


def _store(place: Path, name: str, data: bytes) -> Path:
    """Write a file, unless it is there with as many bytes or more: with inputs, if it was kept without."""
    private_directory(place)
    path = place / name
    try:
        if path.lstat().st_size >= len(data):
            return path
    except FileNotFoundError:
        pass
    _make_room(place, len(data), keep=path)
    draft = place / f".{secrets.token_hex(8)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return path


def _make_room(place: Path, wanted: int, *, keep: Path) -> None:
    """Delete drafts that were left behind, and the oldest proofs, until there is room for `wanted` bytes more."""
    for draft in sorted(place.glob(".*"))[:-16]:
        draft.unlink(missing_ok=True)
    found = []
    for path in place.glob("*.json"):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if path != keep:
            found.append((status.st_mtime_ns, status.st_size, path))
    found.sort()
    total = sum(size for _, size, _ in found)
    while found and (len(found) >= MAX_FILES or total + wanted > MAX_BYTES):
        _, size, path = found.pop(0)
        path.unlink(missing_ok=True)
        total -= size
