"""A short run of the comparison on dense code, the same each time, and proof that it finds a fault of an engine."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.sandbox.lowering.module import LOWERABLE
from tests.agreement.engines import EMBEDDED, missing
from tests.fuzz.dense import dense_module
from tests.sandbox.modules import described
from tests.support.receipts import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="engines are forked with here")

INPUTS = 200
_UNGUARDED = """
import sys
from plasm_core.sandbox.metering import function_body
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


def test_a_short_run_on_v8_finds_nothing(tmp_path: Path) -> None:
    """V8 has a host of its own, and is given code that says which trap it was."""
    if reason := missing("v8"):
        pytest.skip(reason)
    command = [sys.executable, "tests/fuzz/fuzz_dense.py", "--inputs", "100", "--engines", "wasmtime,v8"]
    done = subprocess.run(
        [*command, "--floats", "--findings", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert not done.returncode, done.stdout + done.stderr
    assert "engines wasmtime, v8" in done.stdout
    assert "ran on 2: exited" in done.stdout


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

    assert sum("f32-bits" in of for of in features) < 30  # which are lowered for wasm3


def test_a_short_run_of_what_is_lowered_finds_nothing(tmp_path: Path) -> None:
    if reason := missing("wasm3"):
        pytest.skip(reason)
    command = [sys.executable, "tests/fuzz/fuzz_dense.py", "--inputs", "200", "--engines", "wasmtime,wasm3"]
    done = subprocess.run(
        [*command, "--lowered", "--findings", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert not done.returncode, done.stdout + done.stderr
    assert "ran on 2: exited" in done.stdout
    assert "ran on 1" not in done.stdout


def test_modules_of_what_is_lowered_have_every_feature_that_is() -> None:
    rng = random.Random(7)
    features = [described(dense_module(rng, lowered=True)).features for _ in range(50)]

    assert set.intersection(*map(set, features)) | {"partial-table"} >= LOWERABLE
    assert any("partial-table" in of for of in features)


def test_a_short_run_of_exceptions_and_tail_calls_finds_nothing(tmp_path: Path) -> None:
    if reason := missing("v8"):
        pytest.skip(reason)
    command = [sys.executable, "tests/fuzz/fuzz_dense.py", "--inputs", "100", "--engines", "wasmtime,v8"]
    done = subprocess.run(
        [*command, "--raising", "--findings", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert not done.returncode, done.stdout + done.stderr
    assert "ran on 2: exited" in done.stdout
    assert "ran on 1" not in done.stdout


def test_modules_of_exceptions_use_all_that_there_is() -> None:
    rng = random.Random(8)
    modules = [dense_module(rng, raising=True) for _ in range(50)]
    code = b"".join(modules)

    assert all({"exceptions"} <= set(described(module).features) for module in modules)
    assert sum("tail-calls" in described(module).features for module in modules) > 5
    assert all(bytes([0x1F, 0x40, 1, kind]) in code for kind in range(4))
