"""`plasm verify batch.json`: verify the receipt of a batch, and that the receipts in its folder belong to it."""

from __future__ import annotations

from pathlib import Path

import click

from plasm_core.batch.chain import verify_chain
from plasm_core.batch.receipt import BatchVerdict, verify_batch, verify_proof
from plasm_core.cli import exits, option_values, options, render
from plasm_core.cli.receipt_files import RECEIPT_FILES
from plasm_core.errors import InvalidRecordError
from plasm_core.input_file import is_stored, open_input, read_some
from plasm_core.records import PeerId
from plasm_core.records.batch_document import (
    BATCH_FORMAT,
    MAX_BATCH_BYTES,
    PROOF_FORMAT,
    BatchDocument,
    InclusionProof,
    read_batch_document,
)

_HEAD_BYTES = 4096
_MOST_SHOWN = 20
_DECISIONS = {exits.OK: "accept", exits.REJECTED: "reject", exits.UNDECIDED: "undecided"}


def is_batch(path: str) -> bool:
    """Return whether a file is about a batch, by its first bytes."""
    if not is_stored(path):
        return False
    try:
        with open_input(path) as file:
            head = read_some(file, _HEAD_BYTES)
    except OSError:
        return False
    return any(f'"{form}"'.encode() in head for form in (BATCH_FORMAT, PROOF_FORMAT))


def verify_file(
    ctx: click.Context, path: str, job: int | None, trusted: frozenset[PeerId], as_json: bool
) -> int:
    """Verify a file about a batch, show the verdict, and return the exit code."""
    options.refuse_given(ctx, RECEIPT_FILES, "is compared with one receipt: it has no effect on a batch")
    try:
        document = read_batch_document(option_values.read_file(path, maximum=MAX_BATCH_BYTES, what="batch"))
        found = _verdict(Path(path), document, trusted, job)
    except InvalidRecordError as exc:
        found = BatchVerdict(problems=(str(exc),), signed_by=None, checked=0)
        document = None
    code = exits.REJECTED if found.problems else exits.UNDECIDED if found.signed_by is None else exits.OK
    if as_json:
        render.show_json(
            {
                "decision": _DECISIONS[code],
                "reasons": list(found.problems),
                "signer": None if found.signed_by is None else str(found.signed_by),
                "receiptsChecked": found.checked,
                "outcome": render.outcome_json(found.job.result.outcome) if found.job else None,
            }
        )
        return code
    _show(found, document, job, code)
    return code


def verify_levels(ctx: click.Context, path: str, trusted: frozenset[PeerId], as_json: bool) -> int:
    """Verify a batch with the levels of its reduction, show the verdict, and return the exit code."""
    options.refuse_given(ctx, RECEIPT_FILES, "is compared with one receipt: it has no effect on a batch")
    found = verify_chain(Path(path), trusted)
    code = exits.REJECTED if found.problems else exits.UNDECIDED if found.signed_by is None else exits.OK
    checked = sum(level.checked for level in found.levels)
    if as_json:
        render.show_json(
            {
                "decision": _DECISIONS[code],
                "reasons": list(found.problems),
                "signer": None if found.signed_by is None else str(found.signed_by),
                "receiptsChecked": checked,
                "levels": len(found.levels),
            }
        )
        return code
    for problem in found.problems[:_MOST_SHOWN]:
        render.show_mark("✗", f"chain rejected: {problem}")
    if code != exits.REJECTED:
        who = f"signed by {found.signed_by}" if found.signed_by else "not signed by one key that you trust"
        text = f"{len(found.levels) - 1} levels over a batch of {found.levels[0].checked} jobs: {who}, "
        text += f"{checked} receipts belong to it, each input is made of the results below it"
        render.show_mark("✓" if code == exits.OK else "?", text)
    return code


def _verdict(
    path: Path, document: BatchDocument | InclusionProof, trusted: frozenset[PeerId], job: int | None
) -> BatchVerdict:
    if isinstance(document, BatchDocument):
        return verify_batch(path, document, trusted, job)
    if job is not None and job != document.job:
        raise click.UsageError(f"the proof is of job {document.job}, not of job {job}")
    return verify_proof(document, trusted)


def _show(
    found: BatchVerdict, document: BatchDocument | InclusionProof | None, job: int | None, code: int
) -> None:
    for problem in found.problems[:_MOST_SHOWN]:
        render.show_mark("✗", f"batch rejected: {problem}")
    if len(found.problems) > _MOST_SHOWN:
        render.show_mark("✗", f"and {len(found.problems) - _MOST_SHOWN} problems more")
    if code == exits.REJECTED or document is None:
        return
    said = document.signed.receipt.predicate
    number = document.job if isinstance(document, InclusionProof) else job
    what = f"{found.checked} receipts belong to it" if number is None else f"job {number} belongs to it"
    if number is None and not found.checked:
        what = "no receipts are beside it"
    who = f"signed by {found.signed_by}" if found.signed_by else "signed by no key that you trust"
    text = f"batch of {said.jobs} jobs, {said.receipts} with a receipt: {who}, {what}"
    render.show_mark("✓" if code == exits.OK else "?", text)
    if code == exits.UNDECIDED:
        render.show_hint(
            "name the key of the client that ran the batch with --key; its nodes have signed the receipts"
        )
    if found.job is not None:
        render.show_fields([("the job", str(found.job.result.outcome)), ("signed by", str(found.job.node))])
