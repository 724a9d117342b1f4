"""One judgement on nodes' answers to one task: what a client learns from."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from plasm_core.client.submission import Submission
from plasm_core.records import Claim, PeerId, Verdict
from plasm_core.signing import is_signed_by


@attrs.frozen(kw_only=True)
class Judged:
    """One judgement: the node that gave each answer, its claim (None: no valid receipt), and the verdict.

    `job`: the submission, if known; `manifests`: those of the task's jobs that the nodes ran.
    """

    nodes: Sequence[PeerId]
    claims: Sequence[Claim | None]
    verdict: Verdict
    job: Submission | None = None
    manifests: Sequence[bytes] = ()
    keeps_inputs: bool = False

    @property
    def own_claims(self) -> list[Claim]:
        """The claims that name the node that gave them, which signed them: only these count for or against a node."""
        return [
            claim
            for node, claim in zip(self.nodes, self.claims, strict=True)
            if claim is not None and claim.receipt.node == node and is_signed_by(claim.envelope, node)
        ]
