"""Verification: whether a receipt answers the submitted job, and whether all verifiers accept it.

The bindings (manifest, module, inputs, outputs, peer) are checked here and cannot be left out; who signed, and
whether the computation was right, is for the verifiers. Any rejection wins, silence is not acceptance.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence

import attrs

from plasm_core.errors import InvalidRecordError, PluginBrokenError
from plasm_core.plugins.failure import failure_of
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import (
    PAYLOAD_TYPE,
    Claim,
    Decision,
    Envelope,
    Laboratory,
    Manifest,
    Opinion,
    PeerId,
    Plan,
    Receipt,
    Verdict,
    job_id,
)
from plasm_core.records.consistency import contradictions
from plasm_core.records.files import Product
from plasm_core.records.history import NodeHistory
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.plan import MAX_EXECUTIONS, ONE_EXECUTION
from plasm_core.records.verdict import BINDINGS as BINDINGS

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Expectation:
    """The caller's knowledge of the job, to compare with the receipt; None if unknown.

    Digests in hexadecimal.

    `trusted`: the keys that the caller trusts. `peer`: the peer that it dialled.
    """

    trusted: frozenset[PeerId] = frozenset()
    peer: PeerId | None = None
    job_id: str | None = None
    manifest_json: bytes | None = None
    module: str | None = None
    args: str | None = None
    env: str | None = None
    stdin: str | None = None
    outputs: Mapping[OutputStream, OutputDigest] = attrs.field(factory=dict)
    tree: str | None = None
    """The digest of the job's input tree."""
    files: Mapping[str, Product | None] = attrs.field(factory=dict)
    """Outputs by their path in the job's tree, None for one that the job did not leave."""


@attrs.frozen(kw_only=True)
class Answer:
    """One node's envelope, and the expectation to compare it with."""

    envelope_json: bytes
    expectation: Expectation
    history: NodeHistory | None = None


def plan(verifiers: Sequence[Verifier], manifest: Manifest, candidates: Sequence[NodeHistory] = ()) -> Plan:
    """Return the executions that satisfy all verifiers. Raises: `PluginBrokenError`.

    `candidates`: as of `Verifier.plan_among`.
    """
    plans = (_plan(verifier, manifest, candidates) for verifier in verifiers)
    return functools.reduce(Plan.__or__, plans, ONE_EXECUTION)


def _plan(verifier: Verifier, manifest: Manifest, candidates: Sequence[NodeHistory]) -> Plan:
    try:
        found = verifier.plan_among(manifest, candidates)
    except Exception as exc:
        raise PluginBrokenError(f"the verifier {verifier.name} cannot plan: {failure_of(exc)}") from exc
    if not isinstance(found, Plan):
        raise PluginBrokenError(f"the verifier {verifier.name} gave no plan: plan() returned {found!r:.200}")
    return found


def verify(
    envelope_json: bytes,
    expectation: Expectation,
    verifiers: Sequence[Verifier],
    *,
    laboratory: Laboratory | None = None,
) -> tuple[Receipt | None, Verdict]:
    """Verify an envelope. Return its receipt, None if it has no valid one, and the verdict.

    Never raises on bad input.
    """
    answer = Answer(envelope_json=envelope_json, expectation=expectation)
    (receipt,), verdict = verify_all([answer], verifiers, laboratory=laboratory)
    return receipt, verdict


def verify_all(
    answers: Sequence[Answer], verifiers: Sequence[Verifier], *, laboratory: Laboratory | None = None
) -> tuple[tuple[Receipt | None, ...], Verdict]:
    """Verify several envelopes of one task together.

    Return their receipts, None for an invalid one, and the verdict.

    `laboratory`: for verifiers that run the task again. One rejected envelope rejects all: a caller that can do
    without it verifies the others again.
    """
    claims, verdict = judge_all(answers, verifiers, laboratory=laboratory)
    return tuple(claim.receipt if claim else None for claim in claims), verdict


def judge_all(
    answers: Sequence[Answer], verifiers: Sequence[Verifier], *, laboratory: Laboratory | None = None
) -> tuple[tuple[Claim | None, ...], Verdict]:
    """As `verify_all`, but return the claims that the verifiers were shown, None for an invalid envelope."""
    readings = [_read(answer, laboratory) for answer in answers]
    claims = tuple(reading.claim for reading in readings if reading.claim)
    shown = tuple(reading.claim for reading in readings)
    tasks = {claim.receipt.asked.task_digest for claim in claims}
    opinions = [_bindings(readings, one_task=len(tasks) <= 1)]
    if len(claims) < len(answers) or len(tasks) != 1:
        return shown, Verdict(opinions=tuple(opinions))  # not a receipt, so no verifier can judge it
    opinions += [_ask(verifier, claims) for verifier in verifiers]
    if not verifiers:
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier was asked"))
    elif all(item.decision is Decision.ACCEPT and "signature" not in item.established for item in opinions):
        # Reject even if all else is right: no verifier said that a trusted key signed it.
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier established the signature"))
    outcomes = {claim.receipt.result.outcome for claim in claims}
    outcome = outcomes.pop() if len(outcomes) == 1 else None
    return shown, Verdict(opinions=tuple(opinions), outcome=outcome)


def settle(verifiers: Sequence[Verifier], claims: Sequence[Claim], verdict: Verdict) -> None:
    """Report the final verdict back to the verifiers that judged the claims. One that fails is logged."""
    for verifier in verifiers:
        try:
            verifier.settled(claims, verdict)
        except Exception as exc:
            log.warning("verifier failed verifier=%s error=%s", verifier.name, failure_of(exc))


@attrs.frozen(kw_only=True)
class _Reading:
    """A parsed answer: its claim if it is valid, the reasons to reject it, and the facts that match the expectation."""

    claim: Claim | None
    wrong: tuple[str, ...]
    matched: tuple[str, ...] = ()


def _read(answer: Answer, laboratory: Laboratory | None) -> _Reading:
    expectation = answer.expectation
    try:
        envelope = Envelope.from_json(answer.envelope_json)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise InvalidRecordError("envelope", [("payloadType", f"expected {PAYLOAD_TYPE}")])
        receipt = Receipt.from_statement(envelope.payload)
        manifest_json = expectation.manifest_json
        manifest = None if manifest_json is None else Manifest.from_json(manifest_json)
    except InvalidRecordError as exc:
        return _Reading(claim=None, wrong=(str(exc),))
    claim = Claim(
        envelope=envelope,
        receipt=receipt,
        trusted=expectation.trusted | ({expectation.peer} if expectation.peer else set()),
        manifest=manifest,
        laboratory=laboratory,
        history=answer.history,
    )
    known = _known(_pairs(claim, expectation))
    sizes = [
        (f"the size of {stream.label}", digest.size_bytes, receipt.output(stream).size_bytes)
        for stream, digest in sorted(expectation.outputs.items())
    ]
    return _Reading(
        claim=claim,
        wrong=(
            *(
                f"{what} is not what the receipt says: expected {expected}, the receipt says {found}"
                for what, expected, found in [*known, *sizes]
                if expected != found
            ),
            *(f"the receipt contradicts itself: {rule}" for rule in contradictions(receipt, manifest)),
        ),
        matched=tuple(what.removeprefix("the ") for what, _, _ in known),
    )


def _known(pairs: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    return [(what, expected, found) for what, expected, found in pairs if expected is not None]


def _pairs(claim: Claim, expectation: Expectation) -> list[tuple[str, object, object]]:
    """Yield the comparisons of a receipt: the name of the fact, the expected value (None: not compared), the
    receipt's value.
    """
    receipt, asked, manifest = claim.receipt, claim.receipt.asked, claim.manifest
    left = {item.path: item for item in receipt.files}
    sent = None if expectation.manifest_json is None else job_id(expectation.manifest_json)
    return [
        ("the peer that answered", expectation.peer, receipt.node),
        ("the module", expectation.module, asked.module),
        ("args", expectation.args, asked.args),
        ("env", expectation.env, asked.env),
        ("stdin", expectation.stdin, asked.stdin),
        *(
            (stream.label, digest.sha256, receipt.output(stream).sha256)
            for stream, digest in sorted(expectation.outputs.items())
        ),
        ("the input files", expectation.tree, None if asked.files is None else asked.files.tree),
        *(
            (f"the output {path!a}", _product(expected), _product(left.get(path)))
            for path, expected in sorted(expectation.files.items())
        ),
        ("the job", sent, asked.job_id),
        ("the handle's job", expectation.job_id, asked.job_id),
        ("the task", manifest and manifest.task_digest, asked.task_digest),
    ]


def _product(item: Product | None) -> str:
    return "nothing" if item is None else f"{item.kind} {item.sha256}"


def _bindings(readings: Sequence[_Reading], *, one_task: bool) -> Opinion:
    """Return the opinion on whether the receipts match the expectation."""
    if not readings:
        return _opinion(Decision.UNDECIDED, "there is no receipt")
    wrong = [
        reason if len(readings) == 1 else f"receipt {number} of {len(readings)}: {reason}"
        for number, reading in enumerate(readings, start=1)
        for reason in reading.wrong
    ]
    if not one_task:
        wrong.append("the receipts are not all of one task")
    if wrong:
        return _opinion(Decision.REJECT, *wrong)
    matched = tuple(
        what for what in readings[0].matched if all(what in reading.matched for reading in readings)
    )
    return Opinion(verifier=BINDINGS, decision=Decision.ACCEPT, established=matched)


def _opinion(decision: Decision, *reasons: str) -> Opinion:
    return Opinion(verifier=BINDINGS, decision=decision, reasons=reasons)


def _ask(verifier: Verifier, claims: Sequence[Claim]) -> Opinion:
    try:
        opinion = verifier.judge(claims)
    except Exception as exc:
        what = failure_of(exc)
        log.warning("verifier failed verifier=%s error=%s", verifier.name, what)
        reason = f"the verifier {verifier.name} failed: {what}"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    if not isinstance(opinion, Opinion):
        reason = f"the verifier {verifier.name} gave no opinion: judge() returned {opinion!r:.200}"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    return _bounded(opinion, claims)


def _bounded(opinion: Opinion, claims: Sequence[Claim]) -> Opinion:
    """Return an opinion that speaks of the nodes it was asked about only, and asks for no more than there can be."""
    nodes, most = {claim.receipt.node for claim in claims}, MAX_EXECUTIONS - len(claims)
    if nodes.issuperset((*opinion.checked, *opinion.false)) and 0 <= opinion.more <= most:
        return opinion
    return attrs.evolve(
        opinion,
        checked=tuple(peer for peer in opinion.checked if peer in nodes),
        false=tuple(peer for peer in opinion.false if peer in nodes),
        more=max(0, min(opinion.more, most)),
    )
