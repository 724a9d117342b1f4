"""Hold what somebody is told whose job reached a limit: the option, and a value that it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from plasm_core.cli import option_values
from plasm_core.cli.limit_hint import limit_hint
from plasm_core.quantities import bytes_text, gas_text, seconds_text
from plasm_core.records import Limits, Outcome, Receipt
from tests.support.cli import JOB_FAILED, Done
from tests.support.receipts import receipt
from tests.support.wat import module


def ended(outcome: Outcome, *, peak_memory_bytes: int = 0, **limits: int) -> Receipt:
    """Return a receipt of a job with such an end."""
    given = receipt()
    return attrs.evolve(
        given,
        asked=attrs.evolve(given.asked, limits=attrs.evolve(given.asked.limits, **limits)),
        result=attrs.evolve(given.result, outcome=outcome),
        claims=attrs.evolve(given.claims, peak_memory_bytes=peak_memory_bytes),
    )


OUT_OF_GAS = Outcome(kind="out_of_gas")
TOO_MUCH = Outcome(kind="output_limit")
FAILED = Outcome(kind="exited", code=1)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (ended(OUT_OF_GAS, gas=10**10), "--limit gas=2e10 (it was 1e10)"),
        (ended(OUT_OF_GAS, gas=1234), "--limit gas=2468 (it was 1234)"),
        (ended(OUT_OF_GAS, gas=2**53 - 1), None),
        (ended(TOO_MUCH, output_bytes=64 << 20), "--limit output=128MiB (it was 64MiB)"),
        (ended(TOO_MUCH, output_bytes=0), "--limit output=1KiB (it was 0B)"),
        (
            ended(Outcome(kind="timed_out", detail="after 60 s of wall time")),
            "--limit wall=120s (it was 60s)",
        ),
        (ended(Outcome(kind="timed_out", detail="after 86400 s of wall time")), None),
        (ended(Outcome(kind="timed_out", detail="of processor time")), None),
        (
            ended(FAILED, memory_bytes=256 << 20, peak_memory_bytes=200 << 20),
            "if it lacked memory: --limit memory=512MiB (it was 256MiB)",
        ),
        (
            ended(
                Outcome(kind="trapped", trap="unreachable"),
                memory_bytes=3 << 30,
                peak_memory_bytes=3 << 30,
            ),
            "if it lacked memory: --limit memory=4GiB (it was 3GiB)",
        ),
        (ended(FAILED, memory_bytes=256 << 20, peak_memory_bytes=20 << 20), None),
        (ended(Outcome(kind="exited", code=0), memory_bytes=1 << 20, peak_memory_bytes=1 << 20), None),
        (ended(Outcome(kind="cancelled")), None),
    ],
)
def test_the_option_is_named_with_a_value(given: Receipt, hint: str | None) -> None:
    assert limit_hint(given) == hint


@pytest.mark.parametrize("value", [1, 999, 1000, 1024, 65_536, 10**10, 256 << 20, 3 << 30, 2**53 - 1])
def test_what_is_shown_can_be_typed(value: int) -> None:
    assert option_values.quantity(bytes_text(value), what="x") == value
    assert option_values.quantity(gas_text(value), what="x") == value
    assert option_values.seconds(seconds_text(value % 10**9), what="x") == value % 10**9


def test_a_job_that_needs_more_gets_a_hint_how_to_allow_it(here: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "endless.wasm"
    file.write_bytes(module('(memory (export "memory") 1)', '(func (export "_start") (loop (br 0)))'))

    done = here("run", str(file), "--stdin", "/dev/null", "--limit", "gas=1e6")

    assert done.code == JOB_FAILED
    assert "hint: --limit gas=2000000 (it was 1000000)" not in done.err
    assert "hint: --limit gas=2e6 (it was 1e6)" in done.err.splitlines()


@pytest.mark.parametrize("command", ["run", "submit"])
def test_the_default_limits_stand_in_the_help(here: Callable[..., Done], command: str) -> None:
    default, wall_s = option_values.limits(())

    shown = " ".join(here(command, "--help").out.decode().split())

    assert default == Limits(gas=10**11, memory_bytes=256 << 20, output_bytes=64 << 20)
    assert f"[default: gas=1e11, memory=256MiB, output=64MiB, wall={wall_s}s]" in shown
