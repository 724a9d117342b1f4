"""Estimates of the probability that a node's next answer is wrong, and that an answer of several nodes is.

Sarmenta, "Sabotage-Tolerance Mechanisms for Volunteer Computing Systems" (CCGRID 2001): spot-checking with
blacklisting, and credibility-based voting. docs/verification.md says what the formulas assume.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Iterable, Sequence

from plasm_core.records.history import NodeHistory

LIARS = 0.2
"""The share of nodes that are taken to lie before anything is known of them."""
GOOD_ERROR = 0.1
"""Nodes whose answer is no likelier to be wrong confirm one another, and count against those that answer differently."""
_NEW = 19
_MUCH_GAS = 10**10
_SECRET = secrets.token_bytes(32)


def node_error(history: NodeHistory, *, liars: float = LIARS) -> float:
    """Return an upper estimate of the probability that the node's next answer is wrong, 0 to 1.

    For a node without checked results it is the assumed share of liars, f; for a node that passed k checks at most
    f/(1-f) / (k e), the bound at the worst constant rate of lying, 1/k. It is 1 for a convicted node. If nodes of the
    same /24 or /48 are convicted, a larger share of the rest is assumed to lie, at least half.
    """
    if history.is_convicted:
        return 1.0
    if history.network_convicted:
        convicted = history.network_convicted / max(history.network_nodes, 1)
        liars = max(liars, 0.5, min(convicted, 0.9))
    if history.trust <= 0:
        return liars
    return min(liars, liars / (1 - liars) / (history.trust * math.e))


def answer_error(agreeing: Iterable[float], others: Sequence[Iterable[float]] = ()) -> float:
    """Return the probability that an answer is wrong, given the errors of those that gave it and the other answers.

    `agreeing` and each of `others`: the errors of nodes that answer alike, one for each network, since keys of one
    network may have one owner. At most one answer is right (Sarmenta's conditional probability).
    """
    groups = [tuple(agreeing), *(tuple(group) for group in others)]
    wrong = [math.prod(group) for group in groups]
    right = [math.prod(1 - error for error in group) for group in groups]
    nobody = math.prod(wrong)
    cases = [
        right[index] * math.prod(wrong[other] for other in range(len(groups)) if other != index)
        for index in range(len(groups))
    ]
    total = nobody + sum(cases)
    return 1 - cases[0] / total if total > 0 else 1.0


def answer_errors(answers: Sequence[Sequence[NodeHistory]], *, liars: float = LIARS) -> list[float]:
    """Return the probability that each answer is wrong, given what is known of the nodes that gave it.

    Nodes of one network count once, as the best known of them: one owner may have them all.
    """
    groups = []
    for histories in answers:
        found: dict[str, float] = {}
        for history in histories:
            owner = history.network or str(history.peer)
            found[owner] = min(node_error(history, liars=liars), found.get(owner, 1.0))
        groups.append(tuple(sorted(found.values())))
    return [
        answer_error(group, [other for at, other in enumerate(groups) if at != index])
        for index, group in enumerate(groups)
    ]


def check_probability(history: NodeHistory, *, rate: float, gas_used: int) -> float:
    """Return the probability with which a node's result is to be checked, 0 to 1.

    It is 1 for the first result of a node, and falls to `rate` as more of its results were confirmed. It is up to twice
    as much for a job of 10^10 gas, and for a node of a network of which five nodes are known.
    """
    newness = 1 + _NEW / (1 + history.trust)
    worth = 1 + min(1.0, gas_used / _MUCH_GAS)
    sameness = 1 + min(1.0, max(0, history.network_nodes - 1) / 4)
    return min(1.0, rate * newness * worth * sameness)


def is_drawn(evidence: bytes, probability: float) -> bool:
    """Return whether a result is drawn to be checked, as a lottery of this process decides.

    `evidence`: the node's signed bytes, so that the draw follows the result and repeating it gives the same outcome.
    It is keyed with a random secret of this process, so that no node can predict it.
    """
    draw = hmac.digest(_SECRET, evidence, "sha256")
    return int.from_bytes(draw[:8], "big") < probability * 2**64


def error_text(error: float) -> str:
    """Return an error as texts show it, with two digits at most: `0.2`, `4e-4`."""
    if error >= 0.01:
        return f"{error:.2g}"
    mantissa, _, exponent = f"{error:.1e}".partition("e")
    return "0" if error <= 0 else f"{mantissa.removesuffix('.0')}e{int(exponent)}"
