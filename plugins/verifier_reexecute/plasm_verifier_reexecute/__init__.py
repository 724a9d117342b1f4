"""The verifier `reexecute`: run the job again on another engine, and compare the result with the receipt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Claim, Observables, Opinion
from plasm_core.records.fields import constrained, integer, names
from plasm_core.records.second_run import ENGINES, run_again


@attrs.frozen(kw_only=True)
class ReexecuteVerifier(Verifier):
    """Runs the task again. `runtimes`: the engines to choose from, the preferred first; missing ones are skipped.

    An engine that no receipt names is chosen before one that a receipt names. `wall_time_s`: the limit for each
    run.
    """

    name: ClassVar[str] = "reexecute"
    establishes: ClassVar[tuple[str, ...]] = ("re-execution",)

    runtimes: tuple[str, ...] = constrained(names("[a-z0-9]+"), default=ENGINES)
    wall_time_s: int = constrained(integer(1, 86_400), default=300)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Run the task once, and compare all claims with the result.

        An outcome that cannot be re-checked is undecided.
        """
        unsettled = tuple(dict.fromkeys(reason for claim in claims if (reason := claim.why_unsettled)))
        settled = [claim for claim in claims if not claim.why_unsettled]
        if not settled:
            return self.undecided(*(unsettled or ("there is no receipt",)))
        if len({claim.receipt.asked.task_digest for claim in settled}) > 1:
            return self.undecided("the receipts are not all of one task")
        laboratory = settled[0].laboratory
        if laboratory is None:
            return self.undecided("the job's module and input are not at hand to run it again")
        used = {claim.receipt.claims.runtime.name for claim in settled}
        try:
            runtime, found = run_again(
                laboratory,
                settled[0].receipt.asked,
                runtimes=self.runtimes,
                used=used,
                wall_time_s=self.wall_time_s,
            )
        except PlasmError as exc:
            return self.undecided(f"it could not be run again: {exc}")
        where = f"re-executed on {runtime}" + (", the same engine" if runtime in used else "")
        wrong = {
            claim.receipt.node: differences
            for claim in settled
            if (differences := found.differences(Observables.of(claim.receipt)))
        }
        if wrong:
            reasons = (f"{where}: {difference}" for found in wrong.values() for difference in found)
            return self.reject(*dict.fromkeys(reasons), false=tuple(wrong))
        if unsettled:
            return self.undecided(*unsettled)
        nodes = tuple(dict.fromkeys(claim.receipt.node for claim in settled))
        return self.accept("re-execution", reasons=[where], checked=nodes, error=0.0)


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [ReexecuteVerifier]
