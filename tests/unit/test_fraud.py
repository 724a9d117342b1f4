"""Who lied follows from signed receipts and from a run of the task, and no proof accuses an honest node."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.errors import InvalidRecordError, PlasmError, ProofRefusedError, SandboxError
from plasm_core.fraud import Finding, convict, normal_form
from plasm_core.records import Decision, Envelope, JobInput, Observables, Outcome, Receipt
from plasm_core.records.fraud_proof import MAX_FRAUD_PROOF_BYTES, FraudProof
from plasm_core.signing import sign_receipt
from plasm_core.testing.claims import FakeLaboratory, SeedSigner, manifest, receipt

NODES = [SeedSigner(bytes([number]) * 32) for number in range(1, 6)]
TRUE = Observables.of(receipt())
FALSE = attrs.evolve(TRUE, gas_used=5651)
TIMED_OUT = attrs.evolve(TRUE, outcome=Outcome(kind="timed_out"), gas_used=0)
Answers = dict[str, Observables | PlasmError]


def of(node: int, gas_used: int = TRUE.gas_used, runtime: str = "wasmtime") -> Receipt:
    return receipt(node=NODES[node].peer_id, gas_used=gas_used, runtime=runtime)


def signed(node: int, gas_used: int = TRUE.gas_used, runtime: str = "wasmtime") -> Envelope:
    """Return the signed receipt of a node, by its number."""
    return sign_receipt(of(node, gas_used, runtime), NODES[node])


def judged(answers: Answers | None, *envelopes: Envelope) -> tuple[Finding, list[str]]:
    """Return the finding and the engines that ran. Without `answers` the inputs are not at hand."""
    laboratory = None if answers is None else FakeLaboratory(answers)
    return convict(FraudProof(envelopes=envelopes), laboratory), laboratory.runs if laboratory else []


def test_the_node_that_differs_from_the_run_is_convicted_and_the_other_is_cleared() -> None:
    finding, runs = judged({"v8": TRUE, "wasm3": TRUE}, signed(0), signed(1, 5651))

    assert finding.decision is Decision.ACCEPT
    assert [item.node for item in finding.convictions] == [NODES[1].peer_id]
    assert finding.convictions[0].reasons == ("gas used is 5651, not 5650 (re-executed on v8 and wasm3)",)
    assert finding.cleared == (NODES[0].peer_id,)
    assert runs == ["v8", "wasm3"]


def test_one_receipt_is_enough() -> None:
    finding, _ = judged({"v8": TRUE}, signed(0, 5651))

    assert [item.node for item in finding.convictions] == [NODES[0].peer_id]


def test_a_majority_of_liars_does_not_convict_the_honest_node() -> None:
    """Votes do not count: each node that differs from the run lied."""
    liars = [signed(node, 5651) for node in range(1, 5)]
    finding, _ = judged({"v8": TRUE, "wasm3": TRUE}, signed(0), *liars)

    assert {item.node for item in finding.convictions} == {item.peer_id for item in NODES[1:]}
    assert finding.cleared == (NODES[0].peer_id,)


def test_a_proof_against_honest_nodes_is_refused() -> None:
    finding, runs = judged({"v8": TRUE, "wasm3": TRUE}, signed(0), signed(1))

    assert (finding.decision, finding.code) == (Decision.REJECT, "no-difference")
    assert finding.convictions == ()
    assert runs == ["v8"]


def test_engines_that_disagree_convict_nobody() -> None:
    """A fault of an engine of this machine is no lie of a node."""
    finding, _ = judged({"v8": TRUE, "wasm3": FALSE}, signed(0), signed(1, 5651))

    assert finding.decision is Decision.UNDECIDED
    assert finding.convictions == ()
    assert finding.cleared == ()
    assert "disagree" in " ".join(finding.reasons)


@pytest.mark.parametrize("failure", [SandboxError("no worker"), TIMED_OUT])
def test_a_task_that_does_not_end_here_convicts_nobody(failure: Observables | PlasmError) -> None:
    finding, _ = judged({"v8": failure}, signed(0), signed(1, 5651))

    assert finding.decision is Decision.UNDECIDED
    assert finding.convictions == ()


def test_without_inputs_the_report_says_that_one_node_lied() -> None:
    finding, _ = judged(None, signed(0), signed(1, 5651))

    assert finding.decision is Decision.UNDECIDED
    assert any("the receipts differ, so at least one is false" in reason for reason in finding.reasons)


def test_a_node_that_contradicts_itself_is_convicted_without_a_run() -> None:
    finding, runs = judged({"v8": TRUE}, signed(0), signed(0, 5651))

    assert [item.node for item in finding.convictions] == [NODES[0].peer_id]
    assert runs == []


def test_the_other_node_of_a_contradicting_pair_is_judged_by_a_run() -> None:
    finding, runs = judged({"v8": TRUE}, signed(0), signed(0, 5651), signed(1))

    assert [item.node for item in finding.convictions] == [NODES[0].peer_id]
    assert finding.cleared == (NODES[1].peer_id,)
    assert runs == ["v8"]


def test_an_engine_that_no_receipt_names_runs_first() -> None:
    _, runs = judged(
        dict.fromkeys(("wasmtime", "v8", "wasm3"), TRUE), signed(0, runtime="v8"), signed(1, 5651)
    )

    assert runs == ["wasm3", "wasmtime"]


def test_a_forged_receipt_refuses_the_whole_proof_before_anything_runs() -> None:
    """Node 2 signs a false receipt that names node 0."""
    forged = sign_receipt(of(0, 5651), NODES[2])
    finding, runs = judged({"v8": TRUE}, signed(0), forged)

    assert (finding.decision, finding.code) == (Decision.REJECT, "forged-signature")
    assert runs == []


def test_the_same_node_under_a_new_key_is_not_convicted_by_the_old_proof() -> None:
    """A proof speaks of keys. Renaming its receipt breaks the signature, so no proof convicts a key that has not signed."""
    old = signed(0, 5651)
    renamed = attrs.evolve(old, payload=of(1, 5651).to_statement())
    finding, _ = judged({"v8": TRUE}, renamed)

    assert (finding.decision, finding.code) == (Decision.REJECT, "forged-signature")


def test_a_receipt_of_another_task_is_refused() -> None:
    other = manifest(inputs=JobInput(stdin=b"other"))
    of_other = sign_receipt(receipt(of=other, node=NODES[1].peer_id, gas_used=1_100), NODES[1])
    finding, _ = judged({"v8": TRUE}, signed(0), of_other)

    assert (finding.decision, finding.code) == (Decision.REJECT, "unequal-tasks")


def test_a_claim_of_the_node_convicts_nobody() -> None:
    """A busy honest node may time out where another ends the job."""
    idle = receipt(node=NODES[1].peer_id, outcome=Outcome(kind="timed_out"), gas_used=0)
    finding, _ = judged({"v8": TRUE}, signed(0), sign_receipt(idle, NODES[1]))

    assert (finding.decision, finding.code) == (Decision.REJECT, "no-difference")
    assert any(str(NODES[1].peer_id) in reason for reason in finding.reasons)


def test_the_normal_form_has_each_receipt_once_with_its_nodes_own_signature() -> None:
    """A liar must not be able to swell or vary the files that others keep."""
    first, second = signed(0), signed(1, 5651)
    swollen = attrs.evolve(second, signatures=(*first.signatures * 60, *second.signatures))
    proof = normal_form([first, swollen, first], {})

    assert len(proof.envelopes) == 2
    assert all(len(item.signatures) == 1 for item in proof.envelopes)
    assert proof == normal_form([second, first], {})
    assert FraudProof.from_json(proof.to_json()) == proof


def test_receipts_that_give_no_proof_are_refused() -> None:
    with pytest.raises(ProofRefusedError):
        normal_form([signed(0), sign_receipt(of(0, 5651), NODES[2])], {})


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidRecordError, match="more than"):
        FraudProof.from_json(b" " * (MAX_FRAUD_PROOF_BYTES + 1))


@pytest.mark.parametrize("hostile", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 100_000, b""])
def test_hostile_files_are_refused(hostile: bytes) -> None:
    with pytest.raises(InvalidRecordError):
        FraudProof.from_json(hostile)
