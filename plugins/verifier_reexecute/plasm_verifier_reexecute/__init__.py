"""The verifier `reexecute`: does the job, run again on another engine, give what the receipt says?"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import ClassVar

import attrs

from plasm_core import hookimpl
from plasm_core.abc import Verifier
from plasm_core.errors import PlasmError, RefusedError
from plasm_core.records import Claim, Laboratory, Observables, Opinion
from plasm_core.records.fields import constrained, integer, names


@attrs.frozen(kw_only=True)
class ReexecuteVerifier(Verifier):
    """`runtimes`: the engines to choose from, the most wanted first; those not installed are passed over.

    An engine that no receipt names goes before one that does. `wall_time_s` is how long each may take.
    """

    name: ClassVar[str] = "reexecute"
    establishes: ClassVar[tuple[str, ...]] = ("re-execution",)

    runtimes: tuple[str, ...] = constrained(names("[a-z0-9]+"), default=("wasmtime", "v8", "wasm3", "wasmer"))
    wall_time_s: int = constrained(integer(1, 86_400), default=300)

    def judge(self, claims: Sequence[Claim]) -> Opinion:
        """Run the task once and compare all claims with it. What nobody can re-check is undecided."""
        unsettled = tuple(dict.fromkeys(reason for claim in claims if (reason := _unsettled(claim))))
        settled = [claim for claim in claims if not _unsettled(claim)]
        if not settled:
            return self.undecided(*(unsettled or ("there is no receipt",)))
        if len({claim.receipt.asked.task_digest for claim in settled}) > 1:
            return self.undecided("the receipts are not all of one task")
        laboratory = settled[0].laboratory
        if laboratory is None:
            return self.undecided("the job's module and input are not at hand to run it again")
        used = {claim.receipt.claims.runtime.name for claim in settled}
        try:
            runtime, found = self._run_again(settled[0], laboratory, used)
        except PlasmError as exc:
            return self.undecided(f"it could not be run again: {exc}")
        where = f"re-executed on {runtime}" + (", the same engine" if runtime in used else "")
        wrong = [
            f"{where}: {difference}"
            for claim in settled
            for difference in found.differences(Observables.of(claim.receipt))
        ]
        if wrong:
            return self.reject(*dict.fromkeys(wrong))
        if unsettled:
            return self.undecided(*unsettled)
        return self.accept("re-execution", reasons=[where])

    def _run_again(self, claim: Claim, laboratory: Laboratory, used: Set[str]) -> tuple[str, Observables]:
        """Return what another engine observes, one in `used` where no other can, and its name.

        Raises: `PlasmError` if none gets to an end that can be compared.
        """
        asked = claim.receipt.asked
        able = laboratory.runtimes(asked, self.runtimes)
        failures = []
        for runtime in sorted(able, key=lambda name: name in used):
            try:
                found = laboratory.run(asked, runtime=runtime, wall_time_s=self.wall_time_s)
            except PlasmError as exc:
                failures.append(f"{runtime}: {exc}")
                continue
            if found.outcome.recheckable:
                return runtime, found
            failures.append(f"{runtime}: {found.outcome}")
        raise RefusedError("no_runtime", "; ".join(failures) or "no engine that is installed can run it")


def _unsettled(claim: Claim) -> str:
    """Return why nobody can re-check a claim, or nothing if anyone can."""
    result = claim.receipt.result
    if not result.reproducible:
        return "the job used the real time or real randomness: no other run needs to agree"
    if not result.outcome.recheckable:
        return f"that the job {result.outcome} is only the node's claim"
    return ""


@hookimpl
def plasm_verifier() -> list[type[Verifier]]:
    return [ReexecuteVerifier]
