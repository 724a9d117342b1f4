"""What verification came to."""

from __future__ import annotations

import enum

import attrs

from plasm_core.records.peer import PeerId


class Decision(enum.Enum):
    """A verifier's answer, and a verdict's."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDECIDED = "undecided"


@attrs.frozen(kw_only=True)
class Opinion:
    """One verifier's answer: why, and what it established (`signature`, `re-execution`, `quorum`, …)."""

    verifier: str
    decision: Decision
    reasons: tuple[str, ...] = ()
    established: tuple[str, ...] = ()
    signer: PeerId | None = None
    """The key whose signature it found valid, trusted or not."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What all verifiers asked came to: any rejection wins, and silence is not acceptance."""

    opinions: tuple[Opinion, ...]

    @property
    def signer(self) -> PeerId | None:
        """The key that signed, if a verifier found a valid signature."""
        return next((opinion.signer for opinion in self.opinions if opinion.signer is not None), None)

    @property
    def decision(self) -> Decision:
        """The decision over all opinions."""
        decisions = {opinion.decision for opinion in self.opinions}
        if Decision.REJECT in decisions:
            return Decision.REJECT
        return Decision.ACCEPT if decisions == {Decision.ACCEPT} else Decision.UNDECIDED

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of those that decided the verdict."""
        return tuple(
            reason
            for opinion in self.opinions
            if opinion.decision is self.decision
            for reason in opinion.reasons
        )

    @property
    def established(self) -> tuple[str, ...]:
        """What was established, each once, in the order of the opinions."""
        return tuple(dict.fromkeys(item for opinion in self.opinions for item in opinion.established))
