"""The verifier `signature`: is the receipt signed by a key the caller trusts, and by the node it names?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Decision, Envelope, Opinion, PeerId
from plasm_core.records.claim import Claim
from plasm_core.signing import is_signed_by


@attrs.frozen
class SignatureVerifier(Verifier):
    """Accepts a receipt signed by the node it names, if that node's key is trusted."""

    name: ClassVar[str] = "signature"
    establishes: ClassVar[tuple[str, ...]] = ("signature",)
    is_quick: ClassVar[bool] = True

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Verify the signature of every claim."""
        opinions = [self._judge(claim) for claim in claims]
        for decision in (Decision.REJECT, Decision.UNDECIDED):
            for opinion in opinions:
                if opinion.decision is decision:
                    return opinion
        if not opinions:
            return self.undecided("there is no receipt")
        signers = tuple(dict.fromkeys(claim.receipt.node for claim in claims))
        return attrs.evolve(opinions[0], signers=signers)

    def _judge(self, claim: Claim) -> Opinion:
        node = claim.receipt.node
        if not signed_by(claim.envelope, node):
            return self.reject(f"no signature of {node}, the node it names, is valid")
        if node not in claim.trusted:
            return attrs.evolve(
                self.undecided(f"signed by {node}, a key that is not trusted here"),
                signers=(node,),
            )
        return self.accept("signature")


def signed_by(envelope: Envelope, peer: PeerId) -> bool:
    """Return whether one of the signatures is the peer's. Key ids are hints and are ignored."""
    return is_signed_by(envelope, peer)


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [SignatureVerifier]
