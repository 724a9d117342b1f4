"""What a verifier is shown: a receipt with its envelope, and what the caller knows about the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from plasm_core.records.envelope import Envelope
from plasm_core.records.manifest import Manifest
from plasm_core.records.observables import Observables
from plasm_core.records.peer import PeerId
from plasm_core.records.receipt import Asked, Receipt


class Laboratory(Protocol):
    """Runs the job again on this machine, in the sandbox. The caller has its module and input."""

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """Return those of the runtimes that are installed and can run what was asked, in the order given.

        No other is imported. Raises: as `run`.
        """

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        """Run what a receipt says was asked, and return what was observed.

        Raises: `PlasmError` if it cannot be run, as when the bytes at hand are not those it names.
        """


@attrs.frozen(kw_only=True)
class Claim:
    """One node's answer. `receipt` was parsed from `envelope.payload`, whose signatures are unchecked.

    `trusted` are the keys the caller trusts: its own, pinned ones, or the peer it dialled.
    `manifest` is there when the caller has it, `laboratory` when it can have the job run again.
    """

    envelope: Envelope
    receipt: Receipt
    trusted: frozenset[PeerId] = frozenset()
    manifest: Manifest | None = None
    laboratory: Laboratory | None = attrs.field(default=None, eq=False, repr=False)
