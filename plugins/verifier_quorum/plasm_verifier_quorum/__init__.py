"""The verifier `quorum`: do enough nodes, on networks of their own and asked apart, say the same?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Manifest, Observables, Opinion, PeerId, Plan
from plasm_core.records.fields import ConstraintError, boolean, constrained, integer
from plasm_core.records.plan import MAX_EXECUTIONS


@attrs.frozen(kw_only=True)
class QuorumVerifier(Verifier):
    """Accepts if enough nodes agree. `nodes`: how many run the job; `agree`: how many must agree, more than half.

    `networks`: nodes of one /24, /48 or relay count as one, because keys cost nothing; False counts keys, for nodes of your
    own in one network. `apart_s`: each node but the first is drawn at random, and asked after a random pause of at most
    so many seconds, for a job of another id, so that no node sees that others are asked.
    """

    name: ClassVar[str] = "quorum"
    establishes: ClassVar[tuple[str, ...]] = ("quorum",)

    nodes: int = constrained(integer(2, MAX_EXECUTIONS), default=3)
    agree: int = constrained(integer(2, MAX_EXECUTIONS), default=2)
    networks: bool = constrained(boolean(), default=True)
    apart_s: int = constrained(integer(0, 86_400), default=2)

    def __attrs_post_init__(self) -> None:
        if not self.nodes < 2 * self.agree <= 2 * self.nodes:
            raise ConstraintError(
                f"agree: expected more than half of {self.nodes} nodes, and no more than all"
            )

    def plan(self, manifest: Manifest) -> Plan:
        return Plan(
            executions=self.nodes,
            nodes=self.nodes,
            networks=self.nodes if self.networks else 1,
            apart_s=self.apart_s,
            at_random=True,
        )

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Accept if enough nodes agree and none differs; reject the nodes that differ from enough others.

        While not enough agree, ask for as many more as are missing.
        """
        answers: dict[Observables, list[Claim]] = {}
        for claim in claims:
            result = claim.receipt.result
            if result.reproducible and result.outcome.recheckable:
                answers.setdefault(Observables.of(claim.receipt), []).append(claim)
        votes = {answer: len(self._voters(given)) for answer, given in answers.items()}
        accepted = next((answer for answer, count in votes.items() if count >= self.agree), None)
        if accepted is None:
            most = max(votes.values(), default=0)
            whom = "nodes" if not self.networks or _are_unknown(claims) else "networks"
            # If no node gives an answer that can be compared, more nodes do not help.
            return self.undecided(
                f"{self.agree} {whom} must agree, and {most} did", more=self.agree - most if most else 0
            )
        agreeing = _nodes(answers[accepted])
        wrong = {
            node: answer.differences(accepted)
            for answer, given in answers.items()
            if answer != accepted
            for node in _nodes(given)
        }
        if wrong:
            return self.reject(
                *(
                    f"{node} differs from {len(agreeing)} nodes that agree: {difference}"
                    for node, differences in wrong.items()
                    for difference in differences
                ),
                false=tuple(wrong),
            )
        where = "" if _are_unknown(answers[accepted]) else f" on {votes[accepted]} networks"
        reason = f"agreed on by {len(agreeing)} nodes{where if self.networks else ''}"
        return self.accept("quorum", reasons=[reason], checked=agreeing)

    def _voters(self, claims: Sequence[Claim]) -> set[str]:
        """Return those that claims count for: each network once, and each node whose network is not known."""
        return {(_network(claim) if self.networks else None) or str(claim.receipt.node) for claim in claims}


def _network(claim: Claim) -> str | None:
    return None if claim.history is None else claim.history.network


def _are_unknown(claims: Sequence[Claim]) -> bool:
    """Return whether the networks of nodes are not known, as of receipts in files."""
    return any(_network(claim) is None for claim in claims)


def _nodes(claims: Sequence[Claim]) -> tuple[PeerId, ...]:
    return tuple(sorted({claim.receipt.node for claim in claims}, key=str))


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [QuorumVerifier]
