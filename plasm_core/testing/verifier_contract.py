"""The contract of verifiers."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence

import attrs
import pytest

from plasm_core.errors import RefusedError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Decision, Manifest, Observables, Opinion, Outcome, Plan
from plasm_core.testing.claims import (
    OTHER_SIGNER,
    SIGNER,
    FakeLaboratory,
    claim,
    manifest,
    receipt,
)

RUNTIMES = ("wasmtime", "v8", "wasm3", "wasmer")
TRUE = Observables.of(receipt())
UNREPRODUCIBLE = manifest(capabilities=("clock.real",))
OUTCOMES = [
    Outcome(kind="exited", code=1),
    Outcome(kind="trapped", trap="unreachable"),
    *(
        Outcome(kind=kind)
        for kind in ("out_of_gas", "output_limit", "timed_out", "cancelled", "system_error")
    ),
]


def laboratory(observed: Observables | RefusedError) -> FakeLaboratory:
    """Return a laboratory whose runtimes all return the same observables."""
    return FakeLaboratory(dict.fromkeys(RUNTIMES, observed))


AGREEING = laboratory(TRUE)
FAILING = laboratory(RefusedError("compile_failed", "it cannot be compiled"))
DIFFERING = [
    laboratory(observed)
    for observed in (
        attrs.evolve(TRUE, outcome=Outcome(kind="exited", code=1)),
        attrs.evolve(TRUE, gas_used=TRUE.gas_used + 1),
        attrs.evolve(TRUE, stdout=TRUE.stderr),
        attrs.evolve(TRUE, stdout_bytes=TRUE.stdout_bytes + 1),
        attrs.evolve(TRUE, stderr=TRUE.stdout),
        attrs.evolve(TRUE, stderr_bytes=TRUE.stderr_bytes + 1),
    )
]
HONEST = claim(manifest=manifest(), laboratory=AGREEING)
UNTRUSTED = attrs.evolve(HONEST, trusted=frozenset())
FORGED = claim(receipt(node=SIGNER.peer_id), signer=OTHER_SIGNER, manifest=manifest(), laboratory=AGREEING)
SECOND = claim(signer=OTHER_SIGNER, manifest=manifest(), laboratory=AGREEING)
DISSENTING = claim(
    receipt(node=OTHER_SIGNER.peer_id, gas_used=TRUE.gas_used + 1),
    signer=OTHER_SIGNER,
    manifest=manifest(),
    laboratory=AGREEING,
)

CASES: dict[str, tuple[Claim, ...]] = {
    "nothing": (),
    "honest": (HONEST,),
    "untrusted": (UNTRUSTED,),
    "forged": (FORGED,),
    "no-manifest": (attrs.evolve(HONEST, manifest=None),),
    "no-laboratory": (attrs.evolve(HONEST, laboratory=None),),
    "failing-laboratory": (attrs.evolve(HONEST, laboratory=FAILING),),
    "differing-laboratory": (attrs.evolve(HONEST, laboratory=DIFFERING[0]),),
    "not-reproducible": (claim(receipt(of=UNREPRODUCIBLE), manifest=UNREPRODUCIBLE, laboratory=AGREEING),),
    **{
        item.kind if item.code is None else "failed": (claim(receipt(outcome=item), laboratory=AGREEING),)
        for item in OUTCOMES
    },
    "two-agree": (HONEST, SECOND),
    "two-differ": (HONEST, DISSENTING),
    "one-twice": (HONEST, HONEST),
    "one-of-two-forged": (HONEST, FORGED),
}
"""What a verifier may be shown, by name."""


class VerifierContract:
    """Tests the requirements of verification on a verifier.

    A subclass named `Test…` defines the fixture `verifier`.
    """

    @classmethod
    @abstractmethod
    def verifier(cls) -> Verifier:
        """Return the verifier under test, which must be installed as a plugin."""

    def test_it_is_installed_under_its_name(self) -> None:
        verifier = self.verifier()

        assert loading.load("verifier", verifier.name) is type(verifier)

    def test_its_name_can_be_chosen_on_a_command_line(self) -> None:
        assert re.fullmatch("[a-z0-9]{1,64}", self.verifier().name)

    @pytest.mark.parametrize("of", [manifest(), UNREPRODUCIBLE], ids=["reproducible", "not-reproducible"])
    def test_it_plans_any_job(self, of: Manifest) -> None:
        assert isinstance(self.verifier().plan(of), Plan)

    def test_where_there_is_no_claim_there_is_nothing_to_accept(self) -> None:
        assert self.verifier().judge(()).decision is not Decision.ACCEPT

    @pytest.mark.parametrize("case", CASES)
    def test_it_gives_an_opinion_on_whatever_it_is_shown(self, case: str) -> None:
        """Any node can make any of these claims. An exception counts as undecided, but gives no reason."""
        verifier = self.verifier()
        opinion = verifier.judge(CASES[case])

        assert isinstance(opinion, Opinion)
        assert isinstance(opinion.decision, Decision)
        assert opinion.verifier == verifier.name
        assert_texts(opinion.reasons)
        assert_texts(opinion.established)

    @pytest.mark.parametrize("case", CASES)
    def test_it_says_why_or_what_it_established(self, case: str) -> None:
        opinion = self.verifier().judge(CASES[case])

        if opinion.decision is Decision.ACCEPT:
            assert opinion.established
        else:
            assert opinion.reasons
            assert not opinion.established

    @pytest.mark.parametrize("case", CASES)
    def test_its_decision_depends_on_the_claims_alone(self, case: str) -> None:
        """The decision does not depend on the number or the order of the calls."""
        verifier, claims = self.verifier(), CASES[case]
        decision = verifier.judge(claims).decision

        assert verifier.judge(claims).decision is decision
        assert verifier.judge(claims[::-1]).decision is decision

    # -- what the words in `established` promise

    def needs(self, claims: Sequence[Claim], word: str) -> None:
        """Skip a test unless the verifier establishes this fact for true claims."""
        if word not in self.verifier().judge(claims).established:
            pytest.skip(f"it does not establish {word}")

    @pytest.mark.parametrize("claims", [(FORGED,), (HONEST, FORGED), (UNTRUSTED,), (SECOND, UNTRUSTED)])
    def test_signature_is_never_established_of_what_no_trusted_key_signed(
        self, claims: tuple[Claim, ...]
    ) -> None:
        self.needs((HONEST,), "signature")

        expected = Decision.REJECT if FORGED in claims else Decision.UNDECIDED
        assert self.verifier().judge(claims).decision is expected

    @pytest.mark.parametrize("found", DIFFERING)
    def test_re_execution_that_differs_rejects(self, found: FakeLaboratory) -> None:
        self.needs((HONEST,), "re-execution")

        assert self.verifier().judge((attrs.evolve(HONEST, laboratory=found),)).decision is Decision.REJECT

    @pytest.mark.parametrize(
        "case",
        [
            *("no-laboratory", "failing-laboratory", "not-reproducible"),
            *("timed_out", "cancelled", "system_error"),
        ],
    )
    def test_re_execution_that_tells_nothing_decides_nothing(self, case: str) -> None:
        self.needs((HONEST,), "re-execution")

        assert self.verifier().judge(CASES[case]).decision is Decision.UNDECIDED

    def test_a_quorum_needs_two_different_nodes_that_agree(self) -> None:
        self.needs((HONEST, SECOND), "quorum")

        for case in ("honest", "one-twice", "two-differ"):
            assert self.verifier().judge(CASES[case]).decision is not Decision.ACCEPT


def assert_texts(texts: object) -> None:
    """Check that texts are short and printable, so that they can be shown on one line."""
    assert isinstance(texts, tuple)
    for text in texts:
        assert isinstance(text, str)
        assert text.isprintable()
        assert 0 < len(text) <= 1_000
