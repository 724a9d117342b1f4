"""What the word "verified" may say: one vocabulary for commands, results and errors.

docs/network.md, "What "verified" says". PHP has the same in `Plasm\\Assurance`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence

from plasm_core.errors import ConfigError, ReceiptUndecidedError
from plasm_core.records import Decision, Verdict

REQUIREMENTS = ("signature", "known", "reexecution", "quorum", "audit")
"""What may have to be established for a job to count as done, beside what always has: the node's signature."""

_ESTABLISHED = {"reexecution": "re-execution", "quorum": "quorum", "audit": "audit"}
_VERIFIERS = {"reexecution": "reexecute", "quorum": "quorum"}


class Standing(enum.Enum):
    """What is known of the node that signed, as people read it."""

    OWN = "your own node"
    NAMED = "a node that you named"
    STRANGER = "a node that you do not know"


def verifiers_for(require: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the verifiers to ask: those that are chosen, and the one that a requirement needs."""
    needed = _VERIFIERS.get(require)
    return tuple(chosen) if needed is None or needed in chosen else (*chosen, needed)


def check_possible(require: str, establishes: Collection[str]) -> None:
    """Fail before a job runs, not after, if no verifier can establish what is required. Raises: `ConfigError`."""
    if require == "audit" and "audit" not in establishes:
        raise ConfigError(
            "require audit: no verifier that is configured establishes an audit",
            hint="install one and name it with --verifier, or require known, reexecution or quorum",
        )


def lacking(require: str, verdict: Verdict, standing: Standing) -> str | None:
    """Return why a verdict does not suffice, None if it does."""
    if verdict.decision is not Decision.ACCEPT:
        return "the receipt is not verified"
    if require == "known" and standing is Standing.STRANGER:
        return f"the receipt is signed by {verdict.signer}, {standing.value}"
    wanted = _ESTABLISHED.get(require)
    if wanted is not None and wanted not in verdict.established:
        return f"no verifier has established {wanted}"
    return None


def insist(require: str, verdict: Verdict, standing: Standing) -> None:
    """Raise `ReceiptUndecidedError` if a verdict does not suffice."""
    reason = lacking(require, verdict, standing)
    if reason is not None:
        error = ReceiptUndecidedError((f"{require} is required, and {reason}",))
        error.hint = "name the node with --peer, or require less: --require signature"
        raise error


def qualified(verdict: Verdict, standing: Standing | None) -> tuple[str, str | None]:
    """Return the words about the signers' standing (empty: your own node), and about re-execution if there was none."""
    many = len(verdict.signers) > 1
    who = {
        Standing.NAMED: "nodes that you named" if many else Standing.NAMED.value,
        Standing.STRANGER: "nodes that you do not know" if many else Standing.STRANGER.value,
    }.get(standing or Standing.OWN, "")
    if "re-execution" in verdict.established:
        return who, None
    alone = standing is Standing.STRANGER and "quorum" not in verdict.established
    return who, "not re-executed: nobody but that node has run the job" if alone else "not re-executed"
