"""All that two executions of one task must agree on, whichever engine ran them."""

from __future__ import annotations

import attrs

from plasm_core.records.outcome import Outcome
from plasm_core.records.receipt import Receipt


@attrs.frozen(kw_only=True)
class Observables:
    """What can be observed of one execution. Outputs by digest and size."""

    outcome: Outcome
    gas_used: int
    stdout: str
    stdout_bytes: int
    stderr: str
    stderr_bytes: int

    @classmethod
    def of(cls, receipt: Receipt) -> Observables:
        """Return what a receipt says was observed."""
        return cls(
            outcome=receipt.result.outcome,
            gas_used=receipt.result.gas_used,
            stdout=receipt.stdout,
            stdout_bytes=receipt.result.stdout_bytes,
            stderr=receipt.stderr,
            stderr_bytes=receipt.result.stderr_bytes,
        )

    def differences(self, other: Observables) -> tuple[str, ...]:
        """Return what differs, a sentence each: what it is here, then what it is there."""
        return tuple(
            f"{field.name.replace('_', ' ')} is {getattr(self, field.name)}, not {getattr(other, field.name)}"
            for field in attrs.fields(Observables)
            if getattr(self, field.name) != getattr(other, field.name)
        )
