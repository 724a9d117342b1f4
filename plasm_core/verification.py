"""Verification: is this the answer to what I asked, and do all verifiers asked agree that it holds?

The bindings (manifest, module, inputs, outputs, peer) are checked here and cannot be left out; who signed, and
whether the computation was right, is for the verifiers. Any rejection wins, silence is not acceptance.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import attrs

from plasm_core.abc import Verifier
from plasm_core.errors import InvalidRecordError, PluginBrokenError
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

log = logging.getLogger(__name__)

BINDINGS = "bindings"
"""What the opinion on what was expected is signed with, where a verifier's has its name."""


@attrs.frozen(kw_only=True)
class Expectation:
    """What the caller knows of the job; None where it does not. Digests in hexadecimal.

    `trusted` are the keys it trusts; `peer` is the one it dialled, if it did.
    """

    trusted: frozenset[PeerId] = frozenset()
    peer: PeerId | None = None
    job_id: str | None = None
    manifest_json: bytes | None = None
    module: str | None = None
    args: str | None = None
    env: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    stdout_bytes: int | None = None
    stderr_bytes: int | None = None


@attrs.frozen(kw_only=True)
class Answer:
    """One node's answer, and what is expected of it."""

    envelope_json: bytes
    expectation: Expectation


def plan(verifiers: Sequence[Verifier], manifest: Manifest) -> Plan:
    """Return the executions that satisfy all verifiers. Raises: `PluginBrokenError`."""
    return functools.reduce(Plan.__or__, (_plan(verifier, manifest) for verifier in verifiers), Plan())


def _plan(verifier: Verifier, manifest: Manifest) -> Plan:
    try:
        found = verifier.plan(manifest)
    except Exception as exc:
        raise PluginBrokenError(
            f"the verifier {verifier.name} cannot plan: {type(exc).__name__}: {exc}"
        ) from exc
    if not isinstance(found, Plan):
        raise PluginBrokenError(f"the verifier {verifier.name} gave no plan")
    return found


def verify(
    envelope_json: bytes,
    expectation: Expectation,
    verifiers: Sequence[Verifier],
    *,
    laboratory: Laboratory | None = None,
) -> tuple[Receipt | None, Verdict]:
    """Judge an envelope. Return its receipt, if it holds one, and the verdict. Never raises on bad input."""
    answer = Answer(envelope_json=envelope_json, expectation=expectation)
    (receipt,), verdict = verify_all([answer], verifiers, laboratory=laboratory)
    return receipt, verdict


def verify_all(
    answers: Sequence[Answer], verifiers: Sequence[Verifier], *, laboratory: Laboratory | None = None
) -> tuple[tuple[Receipt | None, ...], Verdict]:
    """Judge the answers to one task together. Return their receipts, where they hold one, and the verdict.

    `laboratory` is for verifiers that run the task again. One answer that is rejected rejects them all:
    who can do without it judges the others again.
    """
    readings = [_read(answer, laboratory) for answer in answers]
    claims = tuple(reading.claim for reading in readings if reading.claim)
    receipts = tuple(reading.claim.receipt if reading.claim else None for reading in readings)
    tasks = {claim.receipt.asked.task_digest for claim in claims}
    opinions = [_bindings(readings, one_task=len(tasks) <= 1)]
    if len(claims) < len(answers) or len(tasks) != 1:
        return receipts, Verdict(opinions=tuple(opinions))  # nothing that a verifier could judge
    opinions += [_ask(verifier, claims) for verifier in verifiers]
    if not verifiers:
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier was asked"))
    elif all(item.decision is Decision.ACCEPT and "signature" not in item.established for item in opinions):
        # Whatever else is right about it: nobody said that a trusted key signed it.
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier established the signature"))
    return receipts, Verdict(opinions=tuple(opinions))


@attrs.frozen(kw_only=True)
class _Reading:
    """An answer as read: its claim if it holds one, what it is rejected for, what is as expected."""

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
    )
    known = _known(_pairs(claim, expectation))
    sizes = _known(
        [
            ("the size of stdout", expectation.stdout_bytes, receipt.result.stdout_bytes),
            ("the size of stderr", expectation.stderr_bytes, receipt.result.stderr_bytes),
        ]
    )
    return _Reading(
        claim=claim,
        wrong=(
            *(
                f"{what} is not what the receipt says: expected {expected}, the receipt says {found}"
                for what, expected, found in known + sizes
                if expected != found
            ),
            *(f"the receipt contradicts itself: {rule}" for rule in contradictions(receipt, manifest)),
        ),
        matched=tuple(what.removeprefix("the ") for what, _, _ in known),
    )


def _known(pairs: list[tuple[str, object, object]]) -> list[tuple[str, object, object]]:
    return [(what, expected, found) for what, expected, found in pairs if expected is not None]


def _pairs(claim: Claim, expectation: Expectation) -> list[tuple[str, object, object]]:
    """Return what the receipt is compared with: its name, what is expected (None: nothing), what is there."""
    receipt, asked, manifest = claim.receipt, claim.receipt.asked, claim.manifest
    sent = None if expectation.manifest_json is None else job_id(expectation.manifest_json)
    return [
        ("the peer that answered", expectation.peer, receipt.node),
        ("the module", expectation.module, asked.module),
        ("args", expectation.args, asked.args),
        ("env", expectation.env, asked.env),
        ("stdin", expectation.stdin, asked.stdin),
        ("stdout", expectation.stdout, receipt.stdout),
        ("stderr", expectation.stderr, receipt.stderr),
        ("the job", sent, asked.job_id),
        ("the handle's job", expectation.job_id, asked.job_id),
        ("the task", manifest and manifest.task_digest, asked.task_digest),
    ]


def _bindings(readings: Sequence[_Reading], *, one_task: bool) -> Opinion:
    """Return the opinion on whether the receipts are what was expected."""
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
        log.warning("verifier failed verifier=%s error=%s: %s", verifier.name, type(exc).__name__, exc)
        reason = f"the verifier {verifier.name} failed: {type(exc).__name__}: {exc}"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    if not isinstance(opinion, Opinion):
        reason = f"the verifier {verifier.name} gave no opinion"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    return opinion
