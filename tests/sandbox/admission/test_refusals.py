"""Refusals that are remembered, so that a module costs its work once."""

from __future__ import annotations

import attrs
import pytest

from plasm_core.errors import BadModuleError, CompileLimitError, RefusedError
from plasm_core.sandbox.admission import refusals as refusals_module
from plasm_core.sandbox.admission.refusals import FORGET_S, Refusals


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "refusal",
    [
        RefusedError("compile_failed", "it cannot be compiled", hint="another engine may"),
        BadModuleError("invalid", "it is not valid"),
        CompileLimitError("it takes too long"),
    ],
)
def test_a_refusal_is_raised_again_as_it_was_without_its_frames(refusal: RefusedError) -> None:
    refusals = Refusals()
    refusals.remember("module", refusal)

    with pytest.raises(type(refusal)) as raised:
        refusals.check("module")

    assert raised.value is not refusal
    assert (str(raised.value), raised.value.reason, raised.value.hint) == (
        *(str(refusal), refusal.reason, refusal.hint),
    )
    refusals.check("another module")


def test_a_refusal_is_forgotten_after_a_while() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    refusals.remember("short", CompileLimitError("busy"), 10)
    refusals.remember("long", CompileLimitError("bomb"))

    clock.now = 10
    refusals.check("short")
    with pytest.raises(CompileLimitError):
        refusals.check("long")
    clock.now = FORGET_S
    refusals.check("long")

    assert len(refusals) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals_module, "_MAX_REFUSALS", 10)
    refusals = Refusals()
    for number in range(100):
        refusals.remember(str(number), CompileLimitError("bomb"))

    assert len(refusals) == 10
    with pytest.raises(CompileLimitError):
        refusals.check("99")
    refusals.check("0")
