"""The verifier `credible`: asks for executions until the answer is as likely to be right as was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Manifest, Observables, Opinion, PeerId, Plan
from plasm_core.records.credibility import (
    LIARS,
    answer_error,
    answer_errors,
    check_probability,
    error_text,
    is_drawn,
    node_error,
)
from plasm_core.records.fields import constrained, integer, names, number
from plasm_core.records.history import NodeHistory
from plasm_core.records.plan import MAX_EXECUTIONS
from plasm_core.records.second_run import ENGINES, run_again


@attrs.frozen(kw_only=True)
class CredibleVerifier(Verifier):
    """Accepts an answer whose estimated error is at most `error`: of one node that is known well, or of several.

    `nodes`: the most that run a job, and as many again for each that differs from the likeliest answer. `gas_here`: a
    job that used no more gas is run again on this machine instead of by another node. `rate`: the least share of a
    well-known node's results that are checked all the same, by another node within `delay_s` seconds where not here.
    `liars`: the assumed share of liars among unknown nodes. `runtimes`, `wall_time_s`: as of the verifier
    `reexecute`.
    """

    name: ClassVar[str] = "credible"
    establishes: ClassVar[tuple[str, ...]] = ("credible",)
    keeps_inputs: ClassVar[bool] = True

    error: float = constrained(number(1e-9, 0.5), default=1e-3)
    nodes: int = constrained(integer(1, MAX_EXECUTIONS), default=5)
    rate: float = constrained(number(0.0, 1.0), default=0.05)
    gas_here: int = constrained(integer(0), default=10**10)
    delay_s: int = constrained(integer(1, 30 * 86_400), default=600)
    liars: float = constrained(number(0.001, 0.9), default=LIARS)
    runtimes: tuple[str, ...] = constrained(names("[a-z0-9]+"), default=ENGINES)
    wall_time_s: int = constrained(integer(1, 86_400), default=300)

    def plan_among(self, manifest: Manifest, candidates: Sequence[NodeHistory]) -> Plan:
        """Return one execution, or as many at once as strangers need where nothing is run again on this machine."""
        if self.gas_here or not candidates or not manifest.reproducible:
            return Plan()
        errors = sorted(node_error(history, liars=self.liars) for history in candidates)
        for count in range(1, self.nodes + 1):
            if answer_error(errors[:count]) <= self.error:
                return Plan(executions=count, nodes=count)
        return Plan()

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept the likeliest answer if its error is small enough; reject those that differ from it."""
        unsettled = tuple(dict.fromkeys(reason for claim in claims if (reason := claim.why_unsettled)))
        if unsettled or not claims:
            return self.undecided(*(unsettled or ("there is no receipt",)))
        answers: dict[Observables, list[Claim]] = {}
        for claim in claims:
            answers.setdefault(Observables.of(claim.receipt), []).append(claim)
        known = [[_history(claim) for claim in given] for given in answers.values()]
        errors = dict(zip(answers, answer_errors(known, liars=self.liars), strict=True))
        best = min(answers, key=lambda answer: (errors[answer], _nodes(answers[answer])[0].public_key))
        error, agreeing = errors[best], _nodes(answers[best])
        odd = [node for answer, given in answers.items() if answer != best for node in _nodes(given)]
        is_checked = (
            len({history.network or str(history.peer) for history in map(_history, answers[best])}) > 1
        )
        drawn = not is_checked and self._is_drawn(answers[best][0])
        failure = ""
        if error > self.error or drawn:
            here = [claim for claim in claims if self._is_quick_here(claim)]
            if here:
                try:
                    return self._run_again(claims, here[0])
                except PlasmError as exc:
                    failure = f"; not run again here: {exc}"
        if error > self.error:
            told = f"the estimated error is {error_text(error)}, more than {error_text(self.error)}{failure}"
            most = self.nodes * (1 + len(odd))
            return self.undecided(told, more=1 if len(claims) < most else 0)
        if odd:
            return self.reject(
                *(f"{node} differs from {len(agreeing)} nodes that are likelier to be right" for node in odd),
                false=odd,
            )
        told = f"credible: {_told(claims)}, error ≤ {error_text(error)}"
        return self.accept(
            "credible",
            reasons=[told],
            checked=agreeing if is_checked else (),
            check_within_s=self.delay_s if drawn else 0,
            error=error,
        )

    def _is_drawn(self, claim: Claim) -> bool:
        probability = check_probability(
            _history(claim), rate=self.rate, gas_used=claim.receipt.result.gas_used
        )
        return is_drawn(claim.envelope.payload, probability)

    def _is_quick_here(self, claim: Claim) -> bool:
        return claim.laboratory is not None and claim.receipt.result.gas_used <= self.gas_here

    def _run_again(self, claims: Sequence[Claim], here: Claim) -> Opinion:
        """Return the opinion after a run on this machine. Raises: `PlasmError` if it cannot be run."""
        assert here.laboratory is not None
        runtime, found = run_again(
            here.laboratory,
            here.receipt.asked,
            runtimes=self.runtimes,
            used={claim.receipt.claims.runtime.name for claim in claims},
            wall_time_s=self.wall_time_s,
        )
        wrong = {
            claim.receipt.node: differences
            for claim in claims
            if (differences := found.differences(Observables.of(claim.receipt)))
        }
        if wrong:
            reasons = (f"re-executed on {runtime}: {item}" for items in wrong.values() for item in items)
            return self.reject(*dict.fromkeys(reasons), false=tuple(wrong))
        return self.accept(
            "credible", reasons=[f"re-executed on {runtime}"], checked=_nodes(claims), error=0.0
        )


def _history(claim: Claim) -> NodeHistory:
    return claim.history or NodeHistory(peer=claim.receipt.node)


def _nodes(claims: Sequence[Claim]) -> tuple[PeerId, ...]:
    return tuple(sorted({claim.receipt.node for claim in claims}, key=lambda node: node.public_key))


def _told(claims: Sequence[Claim]) -> str:
    """Return how well the nodes are known, in words."""
    if len({claim.receipt.node for claim in claims}) > 1:
        return f"{len(_nodes(claims))} nodes agree"
    return f"{round(_history(claims[0]).trust)} results of the node were checked"


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [CredibleVerifier]
