"""Judge a fraud proof: who signed a false receipt? (docs/fraud-proofs.md) `client.fraud_proofs` makes and keeps them.

`compare` needs no engine: it checks signatures and compares receipts, as PHP's `Plasm\\FraudProof` does. `convict` runs
the task again too. Both refuse a proof that could accuse an honest node: a receipt counts only if the node that it
names signed it, and only in what every run of its task must agree on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import attrs

from plasm_core.errors import InvalidRecordError, PlasmError, ProofRefusedError
from plasm_core.records.claim import Laboratory
from plasm_core.records.digest import sha256
from plasm_core.records.envelope import PAYLOAD_TYPE, Envelope
from plasm_core.records.fraud_proof import INPUTS, FraudProof
from plasm_core.records.observables import Observables
from plasm_core.records.peer import PeerId
from plasm_core.records.receipt import Asked, Receipt
from plasm_core.records.verdict import Decision
from plasm_core.signing import is_signed_by

ENGINES = ("wasmtime", "v8", "wasm3", "wasmer")
WALL_TIME_S = 300
"""How long all runs of a proof's task may take together, if the caller does not say."""
_RUNS = 2
"""How many engines must agree against a receipt, where this machine has as many."""


@attrs.frozen(kw_only=True)
class Conviction:
    """A node that signed a false receipt, and how that shows: a sentence for each reason."""

    node: PeerId
    reasons: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Finding:
    """The finding on a fraud proof. ACCEPT: there are `convictions`. REJECT: it proves nothing.

    `cleared`: the nodes whose receipts agree with the run on this machine. `engines`: the engines that ran the task.
    `code`: the reason of a refusal.
    """

    decision: Decision
    reasons: tuple[str, ...] = ()
    code: str | None = None
    asked: Asked | None = None
    convictions: tuple[Conviction, ...] = ()
    cleared: tuple[PeerId, ...] = ()
    engines: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Comparison:
    """A proof's valid receipts, all of one task, and the nodes that contradict themselves.

    `unsettled`: nodes whose receipts cannot be re-checked. `differ`: two receipts differ, so at least one is false.
    """

    asked: Asked
    receipts: tuple[Receipt, ...]
    unsettled: tuple[PeerId, ...]
    convictions: tuple[Conviction, ...]

    @property
    def differ(self) -> bool:
        """Whether two of the receipts that count differ."""
        return len({Observables.of(receipt) for receipt in self.receipts}) > 1


def read_proof(data: bytes) -> FraudProof:
    """Read a proof. Raises: `ProofRefusedError` if the bytes are none."""
    try:
        return FraudProof.from_json(data)
    except InvalidRecordError as exc:
        raise ProofRefusedError("malformed-proof", str(exc)) from exc


def signed_receipt(envelope: Envelope) -> Receipt:
    """Return an envelope's receipt, if the node that it names signed it. Raises: `ProofRefusedError`."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ProofRefusedError("malformed-receipt", f"an envelope is not of the type {PAYLOAD_TYPE}")
    try:
        receipt = Receipt.from_statement(envelope.payload)
    except InvalidRecordError as exc:
        raise ProofRefusedError("malformed-receipt", str(exc)) from exc
    if not is_signed_by(envelope, receipt.node):
        raise ProofRefusedError(
            "forged-signature", f"{receipt.node} has not signed the receipt that names it"
        )
    return receipt


def compare(proof: FraudProof) -> Comparison:
    """Check a proof's signatures and inputs, and compare its receipts. Raises: `ProofRefusedError`."""
    receipts = [signed_receipt(envelope) for envelope in proof.envelopes]
    asked = receipts[0].asked
    if any(receipt.asked.task_digest != asked.task_digest for receipt in receipts):
        raise ProofRefusedError("unequal-tasks", "the receipts are not all of one task")
    if not all(receipt.result.reproducible for receipt in receipts):
        raise ProofRefusedError(
            "not-reproducible",
            "the job used the real time or real randomness: no other run needs to agree with it",
        )
    for name, data in proof.inputs.items():
        if sha256(data) != getattr(asked, name):
            raise ProofRefusedError("wrong-input", f"the {name} in the proof is not the task's")
    settled = tuple(receipt for receipt in receipts if receipt.result.outcome.recheckable)
    if not settled:
        raise ProofRefusedError(
            "not-recheckable",
            "no other run can contradict an outcome that is only the node's claim: "
            + ", ".join(dict.fromkeys(str(receipt.result.outcome) for receipt in receipts)),
        )
    said: dict[PeerId, Observables] = {}
    contradicting: dict[PeerId, tuple[str, ...]] = {}
    for receipt in settled:
        found = Observables.of(receipt)
        if differences := found.differences(said.setdefault(receipt.node, found)):
            contradicting.setdefault(receipt.node, differences)
    return Comparison(
        asked=asked,
        receipts=settled,
        unsettled=tuple(
            dict.fromkeys(receipt.node for receipt in receipts if not receipt.result.outcome.recheckable)
        ),
        convictions=tuple(
            Conviction(node=node, reasons=tuple(f"it signed both: {item}" for item in differences))
            for node, differences in contradicting.items()
        ),
    )


def missing_inputs(proof: FraudProof, asked: Asked) -> tuple[str, ...]:
    """Return the inputs of the task that a proof does not have, but for those of no bytes."""
    nothing = sha256(b"")
    return tuple(name for name in INPUTS if name not in proof.inputs and getattr(asked, name) != nothing)


def convict(
    proof: FraudProof,
    laboratory: Laboratory | None,
    *,
    engines: Sequence[str] = ENGINES,
    wall_time_s: int = WALL_TIME_S,
) -> Finding:
    """Judge a proof, and run its task again unless every receipt in it is refuted by the others already.

    `laboratory` has the task's inputs; None if they are missing. A receipt that differs from a run is also compared
    with a run on a second engine, if one is installed: if the engines of this machine disagree, no node is convicted.
    Never raises on a bad proof.
    """
    try:
        compared = compare(proof)
    except ProofRefusedError as exc:
        return Finding(decision=Decision.REJECT, reasons=(str(exc),), code=exc.code)
    caught = {item.node: item for item in compared.convictions}
    open_receipts = [receipt for receipt in compared.receipts if receipt.node not in caught]
    reasons = [f"{node}: its receipt cannot be re-checked" for node in compared.unsettled]
    runs: dict[str, Observables] = {}
    if open_receipts:
        try:
            runs = _runs(compared, laboratory, engines, wall_time_s)
        except PlasmError as exc:
            reasons.append(f"the task could not be run again: {exc}")
    found = set(runs.values())
    if len(found) > 1:
        told = ", ".join(runs)
        reasons.append(f"the engines of this machine disagree about the task, and convict no node: {told}")
    elif found:
        (true,) = found
        where = f"re-executed on {' and '.join(runs)}"
        for receipt in open_receipts:
            if differences := Observables.of(receipt).differences(true):
                caught.setdefault(
                    receipt.node,
                    Conviction(node=receipt.node, reasons=tuple(f"{item} ({where})" for item in differences)),
                )
    elif compared.differ and not caught:
        reasons.append("the receipts differ, so at least one is false: running the task shows which")
    cleared = tuple(
        dict.fromkeys(
            receipt.node for receipt in open_receipts if len(found) == 1 and receipt.node not in caught
        )
    )
    finding = Finding(
        decision=Decision.UNDECIDED,
        reasons=tuple(reasons),
        asked=compared.asked,
        convictions=tuple(caught.values()),
        cleared=cleared,
        engines=tuple(runs),
    )
    if caught:
        return attrs.evolve(finding, decision=Decision.ACCEPT)
    if len(found) == 1:
        agree = f"every receipt agrees with the run on this machine ({' and '.join(runs)}): no node lied"
        return attrs.evolve(
            finding, decision=Decision.REJECT, reasons=(agree, *reasons), code="no-difference"
        )
    return finding


def _runs(
    compared: Comparison, laboratory: Laboratory | None, engines: Sequence[str], wall_time_s: int
) -> dict[str, Observables]:
    """Return what engines of this machine observe: one, or two if a receipt differs from the first.

    Engines that no receipt names go first. Raises: `PlasmError` if none comes to an end that can be compared.
    """
    if laboratory is None:
        raise ProofRefusedError("no-inputs", "inputs of the task are missing")
    ends_at = time.monotonic() + wall_time_s
    named = {receipt.claims.runtime.name for receipt in compared.receipts}
    able = laboratory.runtimes(compared.asked, engines)
    runs: dict[str, Observables] = {}
    failures: list[str] = []
    for name in sorted(able, key=lambda engine: engine in named):
        left_s = round(ends_at - time.monotonic())
        if left_s < 1:
            failures.append(f"{name}: no time is left")
            continue
        try:
            observed = laboratory.run(compared.asked, runtime=name, wall_time_s=left_s)
        except PlasmError as exc:
            failures.append(f"{name}: {exc}")
            continue
        if not observed.outcome.recheckable:
            failures.append(f"{name}: {observed.outcome}")
            continue
        runs[name] = observed
        if len(runs) == _RUNS or all(Observables.of(item) == observed for item in compared.receipts):
            return runs
    if not runs:
        raise ProofRefusedError("no-run", "; ".join(failures) or "no engine that is installed can run it")
    return runs


def normal_form(envelopes: Sequence[Envelope], inputs: Mapping[str, bytes]) -> FraudProof:
    """Return the proof of signed receipts, each with its node's own signature only. Raises: `ProofRefusedError`."""
    kept: dict[bytes, Envelope] = {}
    for envelope in envelopes:
        node = signed_receipt(envelope).node
        own = next(
            item
            for item in envelope.signatures
            if is_signed_by(attrs.evolve(envelope, signatures=(item,)), node)
        )
        kept.setdefault(envelope.payload, attrs.evolve(envelope, signatures=(own,)))
    proof = FraudProof(envelopes=tuple(kept[payload] for payload in sorted(kept)), inputs=inputs)
    compare(proof)
    return proof
