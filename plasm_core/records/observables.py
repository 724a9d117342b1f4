"""All that two executions of one task must agree on, whichever engine ran them."""

from __future__ import annotations

import attrs

from plasm_core.records.files import Product
from plasm_core.records.outcome import Outcome
from plasm_core.records.receipt import Receipt


@attrs.frozen(kw_only=True)
class Observables:
    """The observable results of one execution: outcome, gas, and digest and size of each output."""

    outcome: Outcome
    gas_used: int
    stdout: str
    stdout_bytes: int
    stderr: str
    stderr_bytes: int
    files: tuple[Product, ...] = ()

    @classmethod
    def of(cls, receipt: Receipt) -> Observables:
        """Return the observables that a receipt states."""
        return cls(
            outcome=receipt.result.outcome,
            gas_used=receipt.result.gas_used,
            stdout=receipt.stdout,
            stdout_bytes=receipt.result.stdout_bytes,
            stderr=receipt.stderr,
            stderr_bytes=receipt.result.stderr_bytes,
            files=receipt.files,
        )

    def differences(self, other: Observables) -> tuple[str, ...]:
        """Return a sentence for each difference: this side's value, then the other's."""
        found = [
            f"{field.name.replace('_', ' ')} is {getattr(self, field.name)}, not {getattr(other, field.name)}"
            for field in attrs.fields(Observables)
            if field.name != "files" and getattr(self, field.name) != getattr(other, field.name)
        ]
        here, there = ({item.path: item for item in each.files} for each in (self, other))
        found += [
            f"the output {path} is {_told(here.get(path))}, not {_told(there.get(path))}"
            for path in sorted(here.keys() | there.keys())
            if here.get(path) != there.get(path)
        ]
        return tuple(found)


def _told(item: Product | None) -> str:
    return "missing" if item is None else f"the {item.kind} {item.sha256}"
