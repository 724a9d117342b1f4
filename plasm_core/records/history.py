"""A client's history with one node: the results that it checked, and its findings."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import attrs

from plasm_core.records.peer import PeerId

NEW_CHECKS = 5
"""A node with fewer confirmed results is new: it has a share of the jobs, or one that is a little slower had no second."""


@attrs.frozen(kw_only=True)
class NodeHistory:
    """This client's own history with one node. The default is an unknown node.

    `accepted`: results that were accepted; `checked`: those of them that an independent execution has confirmed;
    `failed`: results that were rejected. `trust`: the confirmed results since the last failure, each of which halves
    in weight every 30 days. `convicted_at`, `proof`: set permanently once a fraud proof convicts the node. `network`:
    the keyed hash of the node's /24 or /48, None if not known; `network_nodes` and `network_convicted`: how many
    nodes of it this client knows, and how many of them are convicted.
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
        return self.failed > 0 and self.trust <= 0

    @property
    def is_new(self) -> bool:
        """Whether little speaks for the node yet, and nothing against it."""
        return self.trust < NEW_CHECKS and not self.failed and not self.is_convicted
