"""What the word "verified" may say: one vocabulary for commands, results and errors.

docs/network.md, "What "verified" says". PHP has the same in `Plasm\\Assurance`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plasm_core.errors import ConfigError, ReceiptUndecidedError
from plasm_core.records import Decision, Verdict
from plasm_core.records.verdict import Standing as Standing

REQUIREMENTS = ("signature", "known", "reexecution", "quorum", "audit")
"""What may have to be established for a job to count as done, beside what always has: the node's signature."""

_ESTABLISHED = {"reexecution": "re-execution", "quorum": "quorum", "audit": "audit"}
_VERIFIERS = {"reexecution": "reexecute", "quorum": "quorum", "audit": "audit"}


def verifiers_for(require: str, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the verifiers to ask: the configured ones, and the one that the requirement needs."""
    needed = _VERIFIERS.get(require)
    return tuple(chosen) if needed is None or needed in chosen else (*chosen, needed)


def check_known(require: str) -> None:
    """Refuse a requirement that there is not. Raises: `ConfigError`."""
    if require not in REQUIREMENTS:
        raise ConfigError(f"require {require}: expected one of {', '.join(REQUIREMENTS)}")


def lacking(require: str, verdict: Verdict, standing: Standing) -> str | None:
    """Return why a verdict does not meet the requirement, None if it does."""
    if verdict.decision is not Decision.ACCEPT:
        return "the receipt is not verified"
    if require == "known" and standing in (Standing.STRANGER, Standing.CONVICTED):
        return f"the receipt is signed by {verdict.signer}, {standing.value}"
    wanted = _ESTABLISHED.get(require)
    if wanted is not None and wanted not in verdict.established:
        return f"no verifier has established {wanted}"
    return None


def is_mere_word(verdict: Verdict, standing: Standing) -> bool:
    """Return whether a result rests on the word of one node that the user does not know."""
    return standing is Standing.STRANGER and not {"re-execution", "quorum"} & set(verdict.established)


def lacking_in_file(require: str, verdict: Verdict, standing: Standing) -> str | None:
    """Return what `lacking` returns, for a receipt that was read from a file: no client audits it later."""
    found = lacking(require, verdict, standing)
    if found is None and require == "audit" and not set(verdict.signers) <= set(verdict.checked):
        return "no audit of it was made or will be: require reexecution, with the module and the input"
    return found


def insist(require: str, verdict: Verdict, standing: Standing) -> None:
    """Raise `ReceiptUndecidedError` if a verdict does not meet the requirement."""
    reason = lacking(require, verdict, standing)
    if reason is not None:
        error = ReceiptUndecidedError((f"{require} is required, and {reason}",))
        error.hint = (
            "if you trust it all the same: plasm reputation forget, with its PeerId"
            if standing is Standing.CONVICTED
            else "name the node with --peer, or require less: --require signature"
        )
        raise error
