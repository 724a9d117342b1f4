"""Modules with exceptions run without an option, stripped ones with tail calls by the option that the refusal names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from plasm_core.testing.bench import MODULES
from tests.sandbox.modules import wat
from tests.support.cli import FAILURE, JOB_FAILED, OK, Done


def test_a_module_with_exceptions_runs_and_is_run_again(here: Callable[..., Done], tmp_path: Path) -> None:
    module, receipt = str(MODULES / "trap_uncaught_exception.wasm"), tmp_path / "r.json"

    done = here("run", module, "--stdin", "/dev/null", "--receipt", str(receipt))

    assert done.code == JOB_FAILED
    assert "uncaught_exception" in done.err
    assert here("verify", str(receipt), "--module", module, "--reexecute").code == OK
    predicate = json.loads(here("receipt", "show", str(receipt), "--json").out)["predicate"]
    assert predicate["asked"]["profile"] == "plasm.det/v2"
    assert predicate["result"]["gasSchedule"] == "plasm.gas/v2"


def test_a_tail_call_that_no_section_tells_of_needs_the_option(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    module = tmp_path / "tail.wasm"
    module.write_bytes(
        wat('(module (memory (export "memory") 1) (func $f) (func (export "_start") return_call $f))')
    )

    refused = here("run", str(module), "--stdin", "/dev/null")
    done = here("run", str(module), "--stdin", "/dev/null", "--profile", "plasm.det/v2")

    assert refused.code == FAILURE
    assert "plasm.det/v1 has no tail calls" in refused.err
    assert "--profile plasm.det/v2" in refused.err
    assert done.code == OK
