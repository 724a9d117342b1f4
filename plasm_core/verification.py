"""Verification: is this the answer to what I asked, and do all verifiers asked agree that it holds?

The bindings (manifest, module, inputs, outputs, peer) are checked here and cannot be left out; who signed, and
whether the computation was right, is for the verifiers. Any rejection wins, silence is not acceptance.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import attrs

from plasm_core.abc import Verifier
from plasm_core.errors import InvalidRecordError
from plasm_core.records import Decision, Envelope, Manifest, Opinion, PeerId, Receipt, Verdict, job_id
from plasm_core.records.claim import Claim
from plasm_core.records.envelope import PAYLOAD_TYPE

log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Expectation:
    """What the caller knows of the job; None where it does not. Digests in hexadecimal.

    `trusted` are the keys it trusts; `peer` is the one it dialled, if it did.
    """

    trusted: frozenset[PeerId] = frozenset()
    peer: PeerId | None = None
    manifest_json: bytes | None = None
    module: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None


def verify(
    envelope_json: bytes, expectation: Expectation, verifiers: Sequence[Verifier]
) -> tuple[Receipt | None, Verdict]:
    """Judge an envelope. Return its receipt, if it holds one, and the verdict. Never raises on bad input."""
    try:
        envelope = Envelope.from_json(envelope_json)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise InvalidRecordError("envelope", [("payloadType", f"expected {PAYLOAD_TYPE}")])
        receipt = Receipt.from_statement(envelope.payload)
        manifest_json = expectation.manifest_json
        manifest = None if manifest_json is None else Manifest.from_json(manifest_json)
    except InvalidRecordError as exc:
        return None, Verdict(opinions=(_opinion(Decision.REJECT, str(exc)),))
    trusted = expectation.trusted | ({expectation.peer} if expectation.peer else set())
    claim = Claim(envelope=envelope, receipt=receipt, trusted=frozenset(trusted), manifest=manifest)
    opinions = [_bindings(receipt, expectation), *(_ask(verifier, claim) for verifier in verifiers)]
    if not verifiers:
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier was asked"))
    elif all(item.decision is Decision.ACCEPT and "signature" not in item.established for item in opinions):
        # Whatever else is right about it: nobody said that a trusted key signed it.
        opinions.append(_opinion(Decision.UNDECIDED, "no verifier established the signature"))
    return receipt, Verdict(opinions=tuple(opinions))


def _opinion(decision: Decision, *reasons: str) -> Opinion:
    return Opinion(verifier="bindings", decision=decision, reasons=reasons)


def _ask(verifier: Verifier, claim: Claim) -> Opinion:
    try:
        opinion = verifier.judge([claim])
    except Exception as exc:
        log.warning("verifier failed verifier=%s error=%s: %s", verifier.name, type(exc).__name__, exc)
        reason = f"the verifier {verifier.name} failed: {type(exc).__name__}: {exc}"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    if not isinstance(opinion, Opinion):
        reason = f"the verifier {verifier.name} gave no opinion"
        return Opinion(verifier=verifier.name, decision=Decision.UNDECIDED, reasons=(reason,))
    return opinion


def _bindings(receipt: Receipt, expectation: Expectation) -> Opinion:
    """Compare all that is expected with what the receipt says."""
    pairs = [
        ("the peer that answered", expectation.peer, receipt.node),
        ("the module", expectation.module, receipt.asked.module),
        ("stdin", expectation.stdin, receipt.asked.stdin),
        ("stdout", expectation.stdout, receipt.stdout),
        ("stderr", expectation.stderr, receipt.stderr),
    ]
    if expectation.manifest_json is not None:
        manifest = Manifest.from_json(expectation.manifest_json)
        pairs.append(("the job", job_id(expectation.manifest_json), receipt.asked.job_id))
        pairs.append(("the task", manifest.task_digest, receipt.asked.task_digest))
    known = [(what, expected, found) for what, expected, found in pairs if expected is not None]
    wrong = [
        f"{what} is not what the receipt says: expected {expected}, the receipt says {found}"
        for what, expected, found in known
        if expected != found
    ]
    if wrong:
        return _opinion(Decision.REJECT, *wrong)
    established = tuple(what.removeprefix("the ") for what, _, _ in known)
    return Opinion(verifier="bindings", decision=Decision.ACCEPT, established=established)
