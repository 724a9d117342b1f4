"""The verifier `audit`: accepts results at once, and checks some of them, which no node can foretell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Observables, Opinion
from plasm_core.records.credibility import LIARS, check_probability, error_text, is_drawn, node_error
from plasm_core.records.fields import constrained, integer, names, number
from plasm_core.records.history import NodeHistory
from plasm_core.records.second_run import ENGINES, run_again


@attrs.frozen(kw_only=True)
class AuditVerifier(Verifier):
    """Checks a share of each node's results. `rate`: the least share, of nodes that are known well.

    `gas_here`: a result that used no more gas is checked on this machine, before it is accepted; another one by
    another node, at a random time within `delay_s` seconds. `liars`: the assumed share of liars among unknown nodes.
    `runtimes`, `wall_time_s`: as of the verifier `reexecute`.
    """

    name: ClassVar[str] = "audit"
    establishes: ClassVar[tuple[str, ...]] = ("audit",)
    keeps_inputs: ClassVar[bool] = True

    rate: float = constrained(number(0.0, 1.0), default=0.05)
    gas_here: int = constrained(integer(0), default=10**10)
    delay_s: int = constrained(integer(1, 30 * 86_400), default=600)
    liars: float = constrained(number(0.001, 0.9), default=LIARS)
    runtimes: tuple[str, ...] = constrained(names("[a-z0-9]+"), default=ENGINES)
    wall_time_s: int = constrained(integer(1, 86_400), default=300)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept if no claim that is drawn is false. A claim that cannot be re-checked is undecided."""
        unsettled = tuple(dict.fromkeys(reason for claim in claims if (reason := claim.why_unsettled)))
        if unsettled or not claims:
            return self.undecided(*(unsettled or ("there is no receipt",)))
        drawn = [claim for claim in claims if self._is_drawn(claim)]
        here = [
            claim
            for claim in drawn
            if claim.laboratory is not None and claim.receipt.result.gas_used <= self.gas_here
        ]
        where = ""
        if here:
            assert here[0].laboratory is not None
            try:
                runtime, found = run_again(
                    here[0].laboratory,
                    here[0].receipt.asked,
                    runtimes=self.runtimes,
                    used={claim.receipt.claims.runtime.name for claim in claims},
                    wall_time_s=self.wall_time_s,
                )
            except PlasmError as exc:
                where = f"not audited here: {exc}"
                here = []
            else:
                where = f"audited: re-executed on {runtime}"
                wrong = {
                    claim.receipt.node: differences
                    for claim in claims
                    if (differences := found.differences(Observables.of(claim.receipt)))
                }
                if wrong:
                    reasons = (f"{where}: {item}" for found in wrong.values() for item in found)
                    return self.reject(*dict.fromkeys(reasons), false=tuple(wrong))
        if here:
            nodes = tuple(dict.fromkeys(claim.receipt.node for claim in claims))
            return self.accept("audit", reasons=[where], checked=nodes, error=0.0)
        error = max(node_error(_history(claim), liars=self.liars) for claim in claims)
        told = f"audited {_told(claims)}, error ≤ {error_text(error)}"
        if not drawn:
            return self.accept("audit", reasons=[told], error=error)
        later = f"{told}, to be audited by another node within {self.delay_s} s"
        told_all = [where, later] if where else [later]
        return self.accept("audit", reasons=told_all, check_within_s=self.delay_s, error=error)

    def _is_drawn(self, claim: Claim) -> bool:
        probability = check_probability(
            _history(claim), rate=self.rate, gas_used=claim.receipt.result.gas_used
        )
        return is_drawn(claim.envelope.payload, probability)


def _history(claim: Claim) -> NodeHistory:
    return claim.history or NodeHistory(peer=claim.receipt.node)


def _told(claims: Sequence[Claim]) -> str:
    """Return how many of a node's results were checked, as `1 of 20`: of the node of which the least were."""
    counts = [(history.checked, history.accepted + 1) for history in map(_history, claims)]
    checked, accepted = min(counts, key=lambda pair: pair[0] / pair[1])
    return f"{checked} of {accepted}"


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [AuditVerifier]
