"""Hold the execution path: there is one, and a job that was cancelled before it ran ends as cancelled."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

from plasm_core import config
from plasm_core.execution import run_job
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Outcome, manifest_for
from tests.support.wat import exiting

ROOT = Path(__file__).parents[2]
SOURCES = [
    *ROOT.glob("plasm_core/**/*.py"),
    *ROOT.glob("plugins/*/plasm_*/**/*.py"),
    *ROOT.glob("examples/**/*.py"),
    *ROOT.glob("tests/**/*.py"),
    *ROOT.glob("benchmarks/*.py"),
]
EXECUTOR_ALONE = {
    "benchmarks/end_to_end.py",  # what the rest of a job is compared with
    "benchmarks/isolated_job.py",  # what a process for a job costs
    "tests/support/hostile.py",  # programs that were never admitted
    "tests/support/lab.py",  # the tests of the executor itself
}


def _runs_an_executor(node: ast.AST) -> bool:
    """Whether it is a call `….executor.run(…)`, or of a class's own `executor`."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "run":
        return False
    of = node.func.value
    name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
    return name.lstrip("_") == "executor"


def test_only_the_execution_path_asks_the_executor_to_run_a_job() -> None:
    callers = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_bytes()))
        if _runs_an_executor(node)
    ]

    assert set(callers) - EXECUTOR_ALONE == {"plasm_core/execution.py"}


@pytest.mark.usefixtures("homes")
def test_a_job_that_is_cancelled_before_it_runs_gets_a_receipt_that_says_so() -> None:
    code, cancelled = exiting(0), threading.Event()
    cancelled.set()
    with LocalNode(config.load(environ={})) as node:
        done = run_job(
            node,
            code,
            JobInput(),
            manifest_for(code, JobInput()),
            lambda _stream, _data: None,
            cancelled=cancelled,
        )

    result = done.receipt.result
    assert result.outcome == Outcome(kind="cancelled", detail="on request")
    assert (result.gas_used, result.stdout_bytes, result.stderr_bytes) == (0, 0, 0)
