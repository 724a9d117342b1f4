"""A short run of the comparison on dense code, the same each time, and proof that it finds a fault of an engine."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agreement.engines import EMBEDDED, missing
from tests.fuzz.dense import dense_module
from tests.sandbox.modules import described
from tests.support.receipts import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="engines are forked with here")

INPUTS = 200
_UNGUARDED = """
import sys
from plasm_core.sandbox import function_body
from tests.fuzz import fuzz_dense
function_body._BLOCK = b""
verdicts, found, engines = fuzz_dense.fuzz(600, 1, floats=True, engines=["wasmtime", "wasm3"])
sys.stdout.write("\\n".join(found.counts))
"""


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "tests/fuzz/fuzz_dense.py", "--inputs", str(INPUTS), "--seed", "1"]
    done = subprocess.run(
        [*command, "--findings", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert not done.returncode, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    installed = [engine for engine in EMBEDDED if not missing(engine)]
    assert f"engines {', '.join(installed)}" in done.stdout
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[2:]]
    counts = {verdict: int(count) for count, verdict in lines if count.isdigit()}
    assert sum(counts.values()) == INPUTS
    assert counts[f"ran on {len(installed)}: exited"] > INPUTS // 2


def test_it_finds_the_fault_that_the_rewriter_keeps_from_wasm3() -> None:
    """Without the block before a branch that carries a float, wasm3 computes other values."""
    if reason := missing("wasm3"):
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-c", _UNGUARDED], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert not done.returncode, done.stderr
    assert "engines disagree" in done.stdout


def test_modules_of_one_seed_are_the_same() -> None:
    def some() -> list[bytes]:
        rng = random.Random(5)
        return [dense_module(rng) for _ in range(50)]

    assert some() == some()


def test_every_dense_module_is_admitted() -> None:
    rng = random.Random(6)
    features = [described(dense_module(rng)).features for _ in range(100)]

    assert sum("f32-bits" in of for of in features) < 30  # wasm3 refuses those
