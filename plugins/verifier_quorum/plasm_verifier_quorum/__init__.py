"""The verifier `quorum`: do enough nodes, asked apart, say the same?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Verifier
from plasm_core.records import Claim, Manifest, Observables, Opinion, PeerId, Plan
from plasm_core.records.fields import ConstraintError, constrained, integer
from plasm_core.records.plan import MAX_EXECUTIONS


@attrs.frozen(kw_only=True)
class QuorumVerifier(Verifier):
    """`nodes`: how many run the job. `agree`: how many of them must say the same, more than half.

    A node is a key here, and fresh keys are free: choose nodes that have not all one owner.
    """

    name: ClassVar[str] = "quorum"
    establishes: ClassVar[tuple[str, ...]] = ("quorum",)

    nodes: int = constrained(integer(2, MAX_EXECUTIONS), default=3)
    agree: int = constrained(integer(2, MAX_EXECUTIONS), default=2)

    def __attrs_post_init__(self) -> None:
        if not self.nodes < 2 * self.agree <= 2 * self.nodes:
            raise ConstraintError(
                f"agree: expected more than half of {self.nodes} nodes, and no more than all"
            )

    def plan(self, manifest: Manifest) -> Plan:
        return Plan(executions=self.nodes, nodes=self.nodes)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept if enough nodes agree and none differs, reject those that differ from enough others."""
        answers: dict[Observables, set[PeerId]] = {}
        for claim in claims:
            result = claim.receipt.result
            if result.reproducible and result.outcome.recheckable:
                answers.setdefault(Observables.of(claim.receipt), set()).add(claim.receipt.node)
        accepted = next((answer for answer, nodes in answers.items() if len(nodes) >= self.agree), None)
        if accepted is None:
            most = max(map(len, answers.values()), default=0)
            return self.undecided(f"of {self.agree} nodes that must agree, {most} do")
        wrong = [
            f"{node} differs from {len(answers[accepted])} nodes that agree: {difference}"
            for answer, nodes in answers.items()
            for node in sorted(nodes, key=str)
            for difference in answer.differences(accepted)
        ]
        if wrong:
            return self.reject(*wrong)
        return self.accept("quorum", reasons=[f"agreed on by {len(answers[accepted])} nodes"])


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [QuorumVerifier]
