"""A client's history with one node: what it has checked of the node's results, and what it found."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import attrs

from plasm_core.records.peer import PeerId


@attrs.frozen(kw_only=True)
class NodeHistory:
    """What this client has learnt of one node by itself. The default is a node that it knows nothing of.

    `accepted`: results that were accepted; `checked`: those of them that an independent execution has confirmed;
    `failed`: results that were rejected. `trust`: the confirmed results since the last failure, each of which halves in
    weight every 30 days. `convicted_at`, `proof`: set once a fraud proof against the node was found, for ever.
    `network`: the keyed hash of the node's /24 or /48, None if not known; `network_nodes` and `network_convicted`: how
    many nodes of it this client knows, and how many of them are convicted.
    """

    peer: PeerId
    accepted: int = 0
    checked: int = 0
    failed: int = 0
    trust: float = 0.0
    convicted_at: datetime | None = None
    proof: Path | None = None
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    network: str | None = None
    network_nodes: int = 0
    network_convicted: int = 0

    @property
    def is_convicted(self) -> bool:
        """Whether a fraud proof names the node."""
        return self.convicted_at is not None

    @property
    def is_outvoted(self) -> bool:
        """Whether its last result that was checked was rejected."""
        return self.failed > 0 and self.trust < 1

    @property
    def is_fresh(self) -> bool:
        """Whether nothing speaks for the node and nothing against it."""
        return not (self.trust or self.failed or self.is_convicted)
