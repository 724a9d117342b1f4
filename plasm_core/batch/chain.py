"""Verify a reduction from its last receipt down: each level's inputs are the outputs of the level before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import attrs

from plasm_core.batch.receipt import RECEIPT_FILE, BatchVerdict, job_folder, verify_batch
from plasm_core.batch.reduction import frame_head, groups, level_name
from plasm_core.errors import InvalidRecordError
from plasm_core.input_file import open_input, read_input, read_some
from plasm_core.records import Envelope, PeerId, Receipt
from plasm_core.records.batch_document import MAX_BATCH_BYTES, BatchDocument, read_batch_document
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.output import OutputStream

BATCH_FILE = "batch.json"
_MOST_LEVELS = 64


@attrs.frozen(kw_only=True)
class ChainVerdict:
    """What was found of each level, the batch itself first. `problems`: why it is rejected, none if it holds."""

    levels: tuple[BatchVerdict, ...]
    problems: tuple[str, ...]

    @property
    def signed_by(self) -> PeerId | None:
        """The trusted key that signed every level, None if no trusted key signed one of them."""
        found = {level.signed_by for level in self.levels}
        return next(iter(found)) if len(found) == 1 else None


def verify_chain(path: Path, trusted: frozenset[PeerId]) -> ChainVerdict:
    """Verify the batch.json of a batch that was reduced, with its levels beside it. Raises: OSError."""
    places = [path.parent]
    while len(places) <= _MOST_LEVELS and (path.parent / level_name(len(places)) / BATCH_FILE).exists():
        places.append(path.parent / level_name(len(places)))
    verdicts, problems, before = list[BatchVerdict](), list[str](), None
    for level, place in enumerate(places):
        name = "the batch" if level == 0 else level_name(level)
        try:
            document = read_batch_document(read_input(place / BATCH_FILE, MAX_BATCH_BYTES))
            if not isinstance(document, BatchDocument):
                raise InvalidRecordError("batch", [("format", "it is the proof of one job")])
            verdict = verify_batch(place / BATCH_FILE, document, trusted, None)
            problems += [f"{name}: {problem}" for problem in verdict.problems]
            verdicts.append(verdict)
            problems += [f"{name}: {problem}" for problem in _own_problems(place, document)]
            if before is not None:
                problems += [f"{name}: {problem}" for problem in _link_problems(place, document, *before)]
            before = (place, document)
        except (InvalidRecordError, FileNotFoundError) as exc:
            problems.append(f"{name}: {exc}")
            before = None
            break
    if len(places) == 1:
        problems.append("there is no reduction beside it")
    elif before is not None and len(before[1].leaves) != 1:
        problems.append(
            f"{level_name(len(places) - 1)}: the last level has {len(before[1].leaves)} results, not one"
        )
    return ChainVerdict(levels=tuple(verdicts), problems=tuple(problems))


def _receipt(place: Path, job: int) -> Receipt:
    """Return the receipt of a job, which `verify_batch` has compared with the tree. Raises: OSError, `InvalidRecordError`."""
    data = read_input(place / job_folder(job) / RECEIPT_FILE, MAX_ENVELOPE_BYTES)
    return Receipt.from_statement(Envelope.from_json(data).payload)


def _own_problems(place: Path, document: BatchDocument) -> Iterator[str]:
    """Yield the jobs that did not succeed, or not with the module of the batch."""
    said = document.signed.receipt.predicate
    for job in range(len(document.leaves)):
        receipt = _receipt(place, job)
        if receipt.asked.module != said.module:
            yield f"job {job}: it ran another module than the batch says"
        if not receipt.result.outcome.ok:
            yield f"job {job}: it {receipt.result.outcome}"


def _link_problems(place: Path, document: BatchDocument, below: Path, lower: BatchDocument) -> Iterator[str]:
    """Yield the jobs whose standard input is not made of the outputs below."""
    fan_in = document.signed.receipt.predicate.fan_in
    chosen = list(groups(len(lower.leaves), fan_in)) if fan_in else []
    if len(chosen) != len(document.leaves):
        yield f"it has {len(document.leaves)} jobs, and {len(lower.leaves)} results by {fan_in} make {len(chosen)}"
        return
    for job, group in enumerate(chosen):
        if _framed_digest(below, group) != _receipt(place, job).asked.stdin:
            yield f"job {job}: its input is not made of the results {group[0]} to {group[-1]} below it"


def _framed_digest(below: Path, group: range) -> str:
    """Return the digest of the standard input that results make. Raises: OSError."""
    hasher = hashlib.sha256()
    for number in group:
        path = below / job_folder(number) / OutputStream.STDOUT.label
        hasher.update(frame_head(path.stat().st_size))
        with open_input(path) as file:
            while chunk := read_some(file, 1 << 20):
                hasher.update(chunk)
    return hasher.hexdigest()
