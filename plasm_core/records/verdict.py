"""The verdict of a verification, and the words for it."""

from __future__ import annotations

import enum

import attrs

from plasm_core.records.outcome import Outcome
from plasm_core.records.peer import PeerId

BINDINGS = "bindings"
"""The name of the opinion on whether a receipt is of what was expected; others have their verifier's name."""
_WORDS = {"quorum": "agreed on by a quorum", "re-execution": "re-executed"}


class Standing(enum.Enum):
    """The relation of the signing node to the user: own, named, a stranger, or named though it is known to have lied."""

    OWN = "your own node"
    NAMED = "a node that you named"
    STRANGER = "a node that you do not know"
    CONVICTED = "a node that you named, though a fraud proof convicts it"


class Decision(enum.Enum):
    """Accept, reject or undecided: of one verifier, or of all together."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDECIDED = "undecided"


@attrs.frozen(kw_only=True)
class Opinion:
    """One verifier's decision with its reasons and the facts that it established (`signature`, `quorum`, …)."""

    verifier: str
    decision: Decision
    reasons: tuple[str, ...] = ()
    established: tuple[str, ...] = ()
    signers: tuple[PeerId, ...] = ()
    """The keys whose signatures it found valid, trusted or not."""
    checked: tuple[PeerId, ...] = ()
    """The nodes whose claims an independent execution confirmed."""
    false: tuple[PeerId, ...] = ()
    """The nodes whose claims it found to be false. The caller may do without them, and judge the others again."""
    more: int = 0
    """Undecided: how many more executions, by other nodes, may decide it."""
    check_within_s: int = 0
    """Accepted: have another node check the result at a random time within so many seconds; 0: do not."""
    error: float | None = None
    """Accepted: the estimated probability that the result is wrong."""


@attrs.frozen(kw_only=True)
class Verdict:
    """The decision over all verifiers' opinions. One rejection rejects; without an acceptance it stays undecided."""

    opinions: tuple[Opinion, ...]
    standing: Standing | None = None
    outcome: Outcome | None = None

    @property
    def signers(self) -> tuple[PeerId, ...]:
        """The keys with valid signatures that verifiers checked, without duplicates."""
        return tuple(dict.fromkeys(peer for opinion in self.opinions for peer in opinion.signers))

    @property
    def signer(self) -> PeerId | None:
        """The first key with a valid signature, None if no verifier found one."""
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
        """The reasons of the opinions that determined the decision."""
        return tuple(
            reason
            for opinion in self.opinions
            if opinion.decision is self.decision
            for reason in opinion.reasons
        )

    @property
    def established(self) -> tuple[str, ...]:
        """The established facts without duplicates, in the order of the opinions."""
        return tuple(dict.fromkeys(item for opinion in self.opinions for item in opinion.established))

    @property
    def checked(self) -> tuple[PeerId, ...]:
        """The nodes whose claims an independent execution confirmed and no verifier found false."""
        false = {peer for opinion in self.opinions for peer in opinion.false}
        found = dict.fromkeys(peer for opinion in self.opinions for peer in opinion.checked)
        return tuple(peer for peer in found if peer not in false)

    @property
    def false(self) -> tuple[PeerId, ...]:
        """The nodes whose false claims cause the rejection; empty if a rejection names no node."""
        rejections = [opinion for opinion in self.opinions if opinion.decision is Decision.REJECT]
        if not all(opinion.false for opinion in rejections):
            return ()
        return tuple(dict.fromkeys(peer for opinion in rejections for peer in opinion.false))

    @property
    def more(self) -> int:
        """How many more executions may decide it: none if it is decided, or if a verifier cannot decide at all."""
        if self.decision is not Decision.UNDECIDED:
            return 0
        asked = [opinion.more for opinion in self.opinions if opinion.decision is Decision.UNDECIDED]
        return max(asked) if asked and all(asked) else 0

    @property
    def check_within_s(self) -> int:
        """Within how many seconds an accepted result is to be checked, 0 if it is not."""
        asked = [opinion.check_within_s for opinion in self.opinions if opinion.check_within_s > 0]
        return min(asked) if asked and self.decision is Decision.ACCEPT else 0

    @property
    def error(self) -> float | None:
        """The least estimate of the probability that an accepted result is wrong, None if there is none."""
        found = [opinion.error for opinion in self.opinions if opinion.error is not None]
        return min(found) if found and self.decision is Decision.ACCEPT else None

    def sentence(self, *, matched: bool = True, standing: Standing | None = None) -> str:
        """Return the verdict as a sentence: what was established, and what was not (docs/network.md, 'What "verified"
        says'). `matched`: also name the facts that the receipt was compared with. `standing`: used in place of the
        verdict's own.
        """
        if self.decision is not Decision.ACCEPT:
            word = "rejected" if self.decision is Decision.REJECT else "undecided"
            return f"receipt {word}: " + "; ".join(self.reasons)
        words = []
        if "signature" in self.established:
            words.append(f"signed by {', '.join(map(str, self.signers))}")
        who, not_re_executed = self._qualified(standing or self.standing)
        if who:
            words.append(who)
        for opinion in self.opinions:
            if opinion.verifier != BINDINGS:
                named = (_WORDS.get(item, item) for item in opinion.established if item != "signature")
                words += opinion.reasons or named
            elif matched and opinion.established:
                words.append(f"{', '.join(opinion.established)} as expected")
        if not_re_executed is not None:
            words.append(not_re_executed)
        return "receipt verified ✓ " + ", ".join(words)

    def _qualified(self, standing: Standing | None) -> tuple[str, str | None]:
        """Return the words about the signers' standing (empty: your own node), and about re-execution if there was none."""
        many = len(self.signers) > 1
        who = {
            Standing.NAMED: "nodes that you named" if many else Standing.NAMED.value,
            Standing.STRANGER: "nodes that you do not know" if many else Standing.STRANGER.value,
            Standing.CONVICTED: Standing.CONVICTED.value,
        }.get(standing or Standing.OWN, "")
        audits = [opinion for opinion in self.opinions if "quorum" not in opinion.established]
        audited = {peer for opinion in audits for peer in opinion.checked}
        if "re-execution" in self.established or (self.signers and set(self.signers) <= audited):
            return who, None
        alone = standing in (Standing.STRANGER, Standing.CONVICTED) and "quorum" not in self.established
        return who, "not re-executed: nobody but that node has run the job" if alone else "not re-executed"

    def __str__(self) -> str:
        said = self.sentence(matched=False)
        if self.outcome is None or self.decision is not Decision.ACCEPT:
            return said
        return (
            f"{said}; the job {self.outcome}"
            if self.outcome.ok
            else f"{said}; the job failed: {self.outcome}"
        )
