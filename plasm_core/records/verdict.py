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
    signers: tuple[PeerId, ...] = ()
    """The keys whose signatures it found valid, trusted or not."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What all verifiers asked came to: any rejection wins, and silence is not acceptance."""

    opinions: tuple[Opinion, ...]

    @property
    def signers(self) -> tuple[PeerId, ...]:
        """The keys that signed, each once, as far as a verifier found valid signatures."""
        return tuple(dict.fromkeys(peer for opinion in self.opinions for peer in opinion.signers))

    @property
    def signer(self) -> PeerId | None:
        """The key that signed, the first of several, if a verifier found a valid signature."""
        return next(iter(self.signers), None)

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
