"""Hold re-execution to its contract: what it compares, on which engine, and when it says nothing."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.errors import PlasmError, SandboxError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Decision, Observables, Opinion, Outcome
from plasm_core.testing.claims import OTHER_SIGNER, FakeLaboratory, claim, manifest, receipt
from plasm_core.testing.contract import VerifierContract
from plasm_verifier_reexecute import ReexecuteVerifier

TRUE = Observables.of(receipt())
TIMED_OUT = attrs.evolve(TRUE, outcome=Outcome(kind="timed_out"), gas_used=0)


class TestReexecute(VerifierContract):
    @classmethod
    def verifier(cls) -> Verifier:
        return ReexecuteVerifier()


def judged(
    answers: dict[str, Observables | PlasmError], *claims: Claim, verifier: Verifier | None = None
) -> tuple[Opinion, list[str]]:
    """Judge claims, by default one of wasmtime. Return the opinion and the engines that ran."""
    laboratory = FakeLaboratory(answers)
    shown = [attrs.evolve(item, laboratory=laboratory) for item in claims or (claim(),)]
    return (verifier or ReexecuteVerifier()).judge(shown), laboratory.runs


def test_another_engine_than_the_receipts_is_preferred() -> None:
    opinion, runs = judged({"wasmtime": TRUE, "wasm3": TRUE})

    assert opinion.decision is Decision.ACCEPT
    assert opinion.established == ("re-execution",)
    assert opinion.reasons == ("re-executed on wasm3",)
    assert runs == ["wasm3"]


def test_of_several_other_engines_the_most_wanted_runs() -> None:
    """The first that shares no code generator with the receipt's: wasmer and wasmtime both use Cranelift."""
    answers: dict[str, Observables | PlasmError] = dict.fromkeys(("wasm3", "wasmer", "wasmtime"), TRUE)

    assert judged(answers)[1] == ["wasm3"]
    assert judged({**answers, "v8": TRUE})[1] == ["v8"]
    chosen = ReexecuteVerifier(runtimes=("wasm3", "wasmer"))
    assert judged(answers, verifier=chosen)[1] == ["wasm3"]


def test_without_another_engine_the_same_one_runs_and_is_reported() -> None:
    opinion, _ = judged({"wasmtime": TRUE})

    assert opinion.decision is Decision.ACCEPT
    assert opinion.reasons == ("re-executed on wasmtime, the same engine",)


def test_an_engine_that_only_a_receipt_names_is_never_asked_for() -> None:
    """The name is a stranger's word: it must choose nothing that is imported here."""
    opinion, runs = judged({"evil": TRUE}, claim(receipt(runtime="evil")))

    assert opinion.decision is Decision.UNDECIDED
    assert runs == []


@pytest.mark.parametrize("failure", [SandboxError("no worker"), TIMED_OUT])
def test_an_engine_that_comes_to_no_end_gives_way_to_the_next(failure: Observables | PlasmError) -> None:
    opinion, runs = judged({"wasm3": failure, "wasmtime": TRUE})

    assert opinion.decision is Decision.ACCEPT
    assert runs == ["wasm3", "wasmtime"]


def test_if_no_engine_finishes_each_is_named_with_its_reason() -> None:
    opinion, _ = judged({"wasm3": TIMED_OUT, "wasmtime": SandboxError("no worker")})

    assert opinion.decision is Decision.UNDECIDED
    assert opinion.reasons == ("it could not be run again: wasm3: timed out; wasmtime: no worker",)


def test_without_any_engine_nothing_is_decided() -> None:
    opinion, _ = judged({})

    assert opinion.decision is Decision.UNDECIDED
    assert opinion.reasons == ("it could not be run again: no engine that is installed can run it",)


def test_each_difference_is_named() -> None:
    wrong = attrs.evolve(TRUE, gas_used=5651, outcome=Outcome(kind="exited", code=3))
    opinion, _ = judged({"wasm3": wrong})

    assert opinion.decision is Decision.REJECT
    assert opinion.reasons == (
        "re-executed on wasm3: outcome is exited with code 3, not exited with code 0",
        "re-executed on wasm3: gas used is 5651, not 5650",
    )


def second(*, gas_used: int = TRUE.gas_used, runtime: str = "wasmtime") -> Claim:
    """Return the claim of another node."""
    of = receipt(node=OTHER_SIGNER.peer_id, gas_used=gas_used, runtime=runtime)
    return claim(of, signer=OTHER_SIGNER)


def test_several_claims_take_one_run_on_an_engine_that_none_names() -> None:
    answers: dict[str, Observables | PlasmError] = dict.fromkeys(("wasm3", "wasmer", "wasmtime"), TRUE)
    opinion, runs = judged(answers, claim(), second(runtime="wasm3"))

    assert opinion.decision is Decision.ACCEPT
    assert runs == ["wasmer"]


def test_one_wrong_claim_of_several_rejects() -> None:
    assert judged({"wasm3": TRUE}, claim(), second(gas_used=1))[0].decision is Decision.REJECT


def test_a_claim_that_nobody_can_re_check_hides_no_wrong_one() -> None:
    idle = claim(receipt(outcome=Outcome(kind="timed_out")))

    assert judged({"wasm3": TRUE}, idle, second(gas_used=1))[0].decision is Decision.REJECT
    opinion, _ = judged({"wasm3": TRUE}, idle, second())
    assert opinion.decision is Decision.UNDECIDED
    assert opinion.reasons == ("that the job timed out is only the node's claim",)


def test_nothing_runs_for_a_claim_that_nobody_can_re_check() -> None:
    real = claim(receipt(of=manifest(capabilities=("random.real",))))
    for shown in (real, claim(receipt(outcome=Outcome(kind="system_error")))):
        assert judged({"wasm3": TRUE}, shown)[1] == []


def test_receipts_of_different_tasks_are_not_compared() -> None:
    other = claim(receipt(of=attrs.evolve(manifest(), seed="11" * 32)))
    opinion, runs = judged({"wasm3": TRUE}, claim(), other)

    assert opinion.decision is Decision.UNDECIDED
    assert runs == []
