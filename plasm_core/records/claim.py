"""What a verifier is shown: a receipt with its envelope, and what the caller knows about the job."""

from __future__ import annotations

import attrs

from plasm_core.records.envelope import Envelope
from plasm_core.records.manifest import Manifest
from plasm_core.records.peer import PeerId
from plasm_core.records.receipt import Receipt


@attrs.frozen(kw_only=True)
class Claim:
    """One node's answer. `receipt` was parsed from `envelope.payload`, whose signatures are unchecked.

    `trusted` are the keys the caller trusts: its own, pinned ones, or the peer it dialled.
    `manifest` is there when the caller has it.
    """

    envelope: Envelope
    receipt: Receipt
    trusted: frozenset[PeerId] = frozenset()
    manifest: Manifest | None = None
