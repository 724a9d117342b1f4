"""Hold verdicts: any rejection wins, and silence is not acceptance."""

import itertools

import pytest

from plasm_core.records import Decision, Opinion, Verdict

ACCEPT, REJECT, UNDECIDED = Decision.ACCEPT, Decision.REJECT, Decision.UNDECIDED


def verdict(*decisions: Decision) -> Verdict:
    return Verdict(
        opinions=tuple(
            Opinion(verifier=f"v{n}", decision=decision, reasons=(f"{decision.value} {n}",))
            for n, decision in enumerate(decisions)
        )
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_decision_over_any_opinions_in_any_order(count: int) -> None:
    for decisions in itertools.product(Decision, repeat=count):
        expected = ACCEPT
        if UNDECIDED in decisions:
            expected = UNDECIDED
        if REJECT in decisions:
            expected = REJECT

        assert verdict(*decisions).decision is expected


def test_no_opinion_at_all_is_undecided() -> None:
    assert verdict().decision is UNDECIDED


def test_a_decision_of_a_wrong_type_never_accepts() -> None:
    odd = Opinion(verifier="odd", decision="accept")  # type: ignore[arg-type]

    assert Verdict(opinions=(odd,)).decision is UNDECIDED


def test_the_reasons_are_those_of_the_opinions_that_decided() -> None:
    assert verdict(ACCEPT, REJECT, UNDECIDED, REJECT).reasons == ("reject 1", "reject 3")
    assert verdict(ACCEPT, UNDECIDED).reasons == ("undecided 1",)
    assert verdict(ACCEPT, ACCEPT).reasons == ("accept 0", "accept 1")


def test_what_was_established_is_named_once_and_in_order() -> None:
    opinions = tuple(
        Opinion(verifier="v", decision=ACCEPT, established=established)
        for established in (("module", "stdout"), ("signature",), ("stdout", "re-execution"))
    )

    assert Verdict(opinions=opinions).established == ("module", "stdout", "signature", "re-execution")
