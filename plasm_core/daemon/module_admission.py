"""Admission of a job's module in the daemon: in turns of the owners, in threads, and charged to the owner."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import trio

from plasm_core.daemon.offer import Offer
from plasm_core.daemon.scheduling.compile_turns import Turn, Turns
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.store.modules import Modules
from plasm_core.local_node import LocalNode


@attrs.frozen(kw_only=True)
class ModuleAdmission:
    """Validates and compiles modules before their jobs are accepted.

    `token`: of the daemon's event loop. `charge`: adds processor time to an owner's use.
    """

    node: LocalNode
    modules: Modules
    quotas: Quotas
    turns: Turns
    token: trio.lowlevel.TrioToken
    charge: Callable[[Owner, float], None]

    def is_at_hand(self, offer: Offer) -> bool:
        """Return whether the module's program is in memory: it need not be compiled. Raises: `RefusedError`."""
        manifest = offer.manifest
        return self.node.admission().fits_at_hand(
            *(manifest.module, manifest.limits), entry=manifest.entry, profile=manifest.profile
        )

    async def admit(self, offer: Offer, progress: Callable[[str], None]) -> None:
        """Validate and compile a reservation's module when its owner has a turn.

        When cancelled, the thread still runs to its end, and holds the turn until then.

        Raises: `RefusedError`, `SandboxError`.
        """
        if self.is_at_hand(offer):
            self.quotas.check(offer.owner.counted, uploads=False)
            return
        turn = await self.turns.take(offer.owner)
        try:
            # The owner may have used up its processor time while the job waited for its turn.
            self.quotas.check(offer.owner.counted, uploads=False)
            alone = trio.CapacityLimiter(1)  # the turns limit the number of threads
            await trio.to_thread.run_sync(
                self._compile, offer, turn, progress, limiter=alone, abandon_on_cancel=True
            )
        finally:
            if not turn.begun:
                self.turns.give_back(turn)

    def _compile(self, offer: Offer, turn: Turn, progress: Callable[[str], None]) -> None:
        """Validate and compile a module, in a thread. The compiled module stays in the cache for the run."""
        turn.begun = True
        if turn.is_over:
            return
        manifest, began_s = offer.manifest, time.thread_time()
        owner = offer.owner

        def tell(phase: str) -> None:
            self.token.run_sync_soon(progress, phase)

        def meter(cpu_s: float) -> None:
            self.token.run_sync_soon(self._charge_compiling, owner, cpu_s)

        try:
            module = self.modules.read(manifest.module)
            self.node.admission().admit(
                *(module, manifest.limits),
                entry=manifest.entry,
                profile=manifest.profile,
                progress=tell,
                meter=meter,
            ).close()
        finally:
            meter(time.thread_time() - began_s)
            self.token.run_sync_soon(self.turns.give_back, turn)

    def _charge_compiling(self, owner: Owner, cpu_s: float) -> None:
        self.turns.charge(owner, cpu_s)
        self.charge(owner, cpu_s)
