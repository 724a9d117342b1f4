"""Draw a node at random: for a small share of jobs, so that new nodes can join, and for audits and quorums."""

from __future__ import annotations

from plasm_core.client.known_nodes import Candidate, KnownNodes
from plasm_core.client.reputation import Reputation
from plasm_core.randomness import RANDOM

FRESH_SHARE = 0.05
"""The share of jobs that go to new nodes, where others are known."""


def best_or_new(chosen: list[Candidate], nodes: KnownNodes, reputation: Reputation) -> Candidate:
    """Return the first of `chosen` or, for a small share of jobs, a new node: or none could join.

    Only where others are known: otherwise all are new, and the nearest gets the job. Nodes in the network of a
    convicted one have no share.
    """
    histories = {candidate.peer: reputation.history(candidate.peer) for candidate in chosen}
    if not any(history.trust > 0 for history in histories.values()) or RANDOM.random() >= FRESH_SHARE:
        return chosen[0]
    new = [
        candidate
        for candidate in chosen
        if histories[candidate.peer].is_new
        and not histories[candidate.peer].network_convicted
        and not nodes.failures(candidate.peer)
    ]
    return RANDOM.choice(new) if new else chosen[0]


def any_network(chosen: list[Candidate], nodes: KnownNodes, reputation: Reputation) -> Candidate:
    """Return a node of a network that is drawn: one owner may have many keys in a network.

    Nodes that have failed, and those in the network of a convicted one, only if there are no others.
    """

    def is_good(candidate: Candidate) -> bool:
        history = reputation.history(candidate.peer)
        return not (history.is_outvoted or history.network_convicted or nodes.failures(candidate.peer))

    networks: dict[str, list[Candidate]] = {}
    for candidate in [candidate for candidate in chosen if is_good(candidate)] or chosen:
        networks.setdefault(candidate.group or str(candidate.peer), []).append(candidate)
    return RANDOM.choice(RANDOM.choice(list(networks.values())))
