"""A claim for a verifier: a receipt with its envelope, and the caller's knowledge of the job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from plasm_core.records.envelope import Envelope
from plasm_core.records.history import NodeHistory
from plasm_core.records.manifest import Manifest
from plasm_core.records.observables import Observables
from plasm_core.records.peer import PeerId
from plasm_core.records.receipt import Asked, Receipt


class Laboratory(Protocol):
    """Runs a job again on this machine, in the sandbox. The caller has its module and input."""

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """Return those runtimes of `among` that are installed and can run the job, in the order given.

        No other runtime is imported. Raises: as `run`.
        """

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        """Run the job that a receipt describes, and return its observables.

        Raises: `PlasmError` if it cannot be run, for example because the module has another digest.
        """


@attrs.frozen(kw_only=True)
class Claim:
    """One node's receipt, as a verifier receives it.

    `receipt` was parsed from `envelope.payload`; signatures are unchecked.

    `trusted`: the keys that the caller trusts: its own, pinned ones, or the dialled peer's. `manifest`: set if the
    caller has it. `laboratory`: set if the caller can run the job again. `history`: the caller's history with the
    node and its network; None if it keeps none.
    """

    envelope: Envelope
    receipt: Receipt
    trusted: frozenset[PeerId] = frozenset()
    manifest: Manifest | None = None
    laboratory: Laboratory | None = attrs.field(default=None, eq=False, repr=False)
    history: NodeHistory | None = None

    @property
    def why_unsettled(self) -> str:
        """Why the claim cannot be re-checked; nothing if it can."""
        result = self.receipt.result
        if not result.reproducible:
            return "the job used the real time or real randomness: no other run needs to agree"
        if not result.outcome.recheckable:
            return f"that the job {result.outcome} is only the node's claim"
        return ""
