"""Faults put into the rewriter, in Python and in C: the vectors of `plasm.det/v1`, or the comparison of both, find each.

Faults of exceptions and tail calls are in `test_handlers.py`.
"""

from __future__ import annotations

import inspect
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plasm_core.plugins.engine import Engine
from plasm_core.sandbox.metering import function_body, instructions, rewrite, stack
from plasm_core.sandbox.metering.rewrite import meter_module
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process import worker, worker_frames
from plasm_core.trap_kinds import TRAP_KINDS
from tests.agreement.vectors import Given, Task, vectors
from tests.fuzz.dense import dense_module
from tests.sandbox.modules import wat
from tests.support.receipts import ROOT

engine_module = pytest.importorskip("plasm_runtime_wasmtime.engine")
validator_module = pytest.importorskip("plasm_runtime_wasmtime.validator")

NATIVE = ROOT / "plasm_core" / "sandbox" / "metering" / "native"
VECTORS = {vector.task.name: vector for vector in vectors()}


@pytest.fixture(scope="module")
def engine() -> Engine:
    made: Engine = engine_module.WasmtimeEngine()
    return made


def run(engine: Engine, task: Task) -> tuple[dict[str, Any], int]:
    """Meter a task's module, and run it in this process. Return outcome and gas."""
    module = read_module(task.code())
    code = meter_module(module)
    job = worker_frames.WorkerJob(
        worker_frames.pack_job(
            gas=task.limits.gas,
            memory_bytes=task.limits.memory_bytes,
            output_bytes=task.limits.output_bytes,
            stdin_bytes=0,
            cpu_s=10,
            flags=0 if module.start is None else worker_frames.HAS_START,
            seed=bytes.fromhex(task.seed),
            args=task.args,
            env=task.env,
        )
    )
    assert not task.inputs().stdin
    host, instance = worker.make_instance(engine.load(engine.compile(code)))
    packed = worker.run(instance, host, job, worker.FileStdin(None, 0), lambda _stream, _data: None)
    kind, exit_code, trap, gas_used, *_ = worker_frames.unpack_outcome(packed)
    outcome: dict[str, Any] = {"kind": kind}
    if kind == "exited":
        outcome["code"] = exit_code
    if kind == "trapped":
        outcome["trap"] = TRAP_KINDS[trap]
    return outcome, gas_used


def holds(engine: Engine, name: str) -> bool:
    """Return whether a vector holds."""
    expected = VECTORS[name].expected
    return run(engine, VECTORS[name].task) == (expected.outcome, expected.gas_used)


def seed(monkeypatch: pytest.MonkeyPatch, module: ModuleType, text: str, fault: str) -> None:
    """Put `fault` in place of `text` in a module's source, and its classes' methods in place of the module's."""
    source = inspect.getsource(module)
    assert source.count(text) == 1, "the source has changed: change the fault"
    mutated: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source.replace(text, fault), f"faulty {module.__name__}", "exec"), mutated)
    for name, value in vars(module).items():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for attribute, method in vars(mutated[name]).items():
                if inspect.isfunction(method):
                    monkeypatch.setattr(value, attribute, method)
        elif inspect.isfunction(value) and value.__module__ == module.__name__ and module is stack:
            monkeypatch.setattr(function_body, name, mutated[name])


PYTHON: dict[str, tuple[ModuleType, str, str, str]] = {
    "entering a function costs nothing": (
        function_body,
        "signed(1 + first_cost)",
        "signed(first_cost)",
        "wat/functions",
    ),
    "the first run costs nothing": (function_body, "signed(1 + first_cost)", "signed(1)", "wat/functions"),
    "a conditional branch costs nothing": (
        function_body,
        "height -= 1\n                cost += 1\n                position += 2\n            elif opcode in _BLOCKS",
        "height -= 1\n                position += 2\n            elif opcode in _BLOCKS",
        "wat/branches",
    ),
    "a direct call costs nothing": (
        function_body,
        "                    cost += 1\n                    position = after",
        "                    position = after",
        "wat/functions",
    ),
    "a branch costs nothing": (
        function_body,
        "                cost += 1\n                dead = True",
        "                dead = True",
        "wat/control",
    ),
    "the run behind a call is charged from before the call": (
        function_body,
        "charge_after_call if called else charge",
        "charge",
        "wat/functions",
    ),
    "the gas is not loaded again behind a call whose run is free": (
        function_body,
        "                elif called:\n                    out += reload\n",
        "",
        "wat/multi_value",
    ),
    "only direct calls are followed by a load of the gas": (
        function_body,
        "_CALLS = (op.CALL, op.CALL_INDIRECT)",
        "_CALLS = (op.CALL,)",
        "wat/control",
    ),
    "`return` costs": (
        function_body,
        'self._replace(start, b"\\x0c" + unsigned(len(self.labels) - 1))',
        'self.cost += 1; self._replace(start, b"\\x0c" + unsigned(len(self.labels) - 1))',
        "wat/control",
    ),
    "the gas is not loaded again behind the growth of memory": (
        instructions,
        "self.rewriter.grow + self.reload",
        "self.rewriter.grow",
        "wat/growth_charge",
    ),
    "bulk instructions are not charged for their operand": (
        instructions,
        "if number in op.OPERAND_CHARGED",
        "if False",
        "wat/bulk_memory",
    ),
    "only the local is charged": (
        instructions,
        'b"\\x7d\\x22" + local + stored',
        'b"\\x7d\\x21" + local',
        "wat/traps b",
    ),
    "only the global is charged": (
        instructions,
        'b"\\x7d\\x22" + local + stored',
        'b"\\x7d" + stored',
        "wat/control",
    ),
    "the memory's growth is free": (
        rewrite,
        '+ (b"\\x20\\x00\\x10" + self.charge + b"\\x1a")\n            + least',
        "+ least",
        "wat/growth_charge",
    ),
    "the memory grows beyond the job's limit": (
        rewrite,
        'b"\\x23" + self.pages + limit + b"\\x23" + self.pages + limit + b"\\x49\\x1b\\x21\\x01"',
        'limit + b"\\x21\\x01"',
        "wat/memory_growth (2 pages)",
    ),
}


@pytest.mark.parametrize("name", sorted({case for *_, case in PYTHON.values()}))
def test_the_vectors_that_notice_hold_without_a_fault(engine: Engine, name: str) -> None:
    assert holds(engine, name)


@pytest.mark.parametrize("fault", PYTHON)
def test_a_fault_in_python_breaks_a_vector(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, fault: str
) -> None:
    module, text, faulty, noticed = PYTHON[fault]
    seed(monkeypatch, module, text, faulty)

    assert not holds(engine, noticed)


KEPT = {
    "memory.fill": ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 1000))", 4, 1000),
    "memory.copy": ("(memory.copy (i32.const 0) (i32.const 1) (i32.const 1000))", 4, 1000),
    "memory.grow": ("(drop (memory.grow (i32.const 1)))", 2, 1),
    "table.fill": ("(table.fill 0 (i32.const 0) (ref.null func) (i32.const 7))", 4, 7),
    "table.grow": ("(drop (table.grow 0 (ref.null func) (i32.const 7)))", 3, 7),
}
"""An instruction → itself, the instructions it is written with, and its operand's charge."""


def _gas_of_a_loop(engine: Engine, name: str) -> int:
    """Return the gas of three rounds of a loop with an instruction of `KEPT`."""
    text = KEPT[name][0]
    loop = f"(loop {text} (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))"
    data = wat(
        '(module (table 9 funcref) (memory (export "memory") 1)'
        f' (func (export "_start") (local i32) (local.set 0 (i32.const 3)) {loop}))'
    )
    return run(engine, Given(given=data, limits=VECTORS["wat/control"].task.limits))[1]


@pytest.mark.parametrize("name", KEPT)
def test_what_follows_an_operands_charge_in_its_function_keeps_it(engine: Engine, name: str) -> None:
    """No vector has a charge behind a bulk instruction of the same function."""
    _, instructions_count, charge = KEPT[name]

    assert _gas_of_a_loop(engine, name) == 3 + 3 * (instructions_count + 6 + charge)


@pytest.mark.parametrize(
    ("text", "fault", "name"),
    [
        ("self.rewriter.charge + self.reload", "self.rewriter.charge", "memory.fill"),
        ("self.rewriter.charge + self.reload", "self.rewriter.charge", "table.fill"),
        ("self.rewriter.grow + self.reload", "self.rewriter.grow", "memory.grow"),
        (
            "self.rewriter.table_grow(indices[0]) + self.reload",
            "self.rewriter.table_grow(indices[0])",
            "table.grow",
        ),
    ],
)
def test_a_charge_that_is_not_kept_is_noticed(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, text: str, fault: str, name: str
) -> None:
    seed(monkeypatch, instructions, text, fault)

    assert _gas_of_a_loop(engine, name) != 3 + 3 * (KEPT[name][1] + 6 + KEPT[name][2])


@pytest.mark.parametrize("count", [49_900, 49_984, 49_985, 50_000])
def test_a_function_with_as_many_locals_as_engines_allow_stays_valid(engine: Engine, count: int) -> None:
    """The local for the gas is one more."""
    data = wat(f"(module … (func (local {'i32 ' * count}) (drop (local.get 0))))")

    engine.compile(meter_module(read_module(data), canonical_nans=True))


LATE: dict[str, tuple[ModuleType, str, str]] = {
    "the gas is not checked at a function's entry": (function_body, "stored + self._check()", "stored"),
    "an operand's charge is not checked": (
        rewrite,
        'lower + self.check_gas() + b"\\x20\\x00"',
        'lower + b"\\x20\\x00"',
    ),
    "a function's weight is not added": (stack, 'signed(weight) + b"\\x6a', 'signed(0) + b"\\x6a'),
    "a function's weight is not taken away": (stack, 'signed(weight) + b"\\x6b', 'signed(0) + b"\\x6b'),
    "the stack's limit is one unit more": (stack, "STACK_UNITS = 262_144", "STACK_UNITS = 262_145"),
    "each byte of code weighs a unit": (stack, "BYTES_PER_UNIT = 128", "BYTES_PER_UNIT = 1"),
}
"""Faults by which a run ends later and the same, or that need a deep stack: the recorded digests notice them."""


@pytest.mark.parametrize("fault", LATE)
def test_a_fault_in_python_changes_the_recorded_code(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    rng = random.Random(fault)
    modules = [dense_module(rng) for _ in range(5)]
    before = [meter_module(read_module(data)) for data in modules]
    seed(monkeypatch, *LATE[fault])

    assert before != [meter_module(read_module(data)) for data in modules]


NATIVE_FAULTS = {
    "a charge of one more": (
        "write_signed(to, cost);\n  *to++ = 0x7D;",
        "write_signed(to, cost + 1);\n  *to++ = 0x7D;",
    ),
    "the run behind a call is charged from before the call": ("put, cost, called)", "put, cost, 0)"),
    "no load behind a call whose run is free": ("else if (called) put = write_reload(put);", ""),
    "no load behind an indirect call": (
        "called = opcode == CALL || opcode == CALL_INDIRECT",
        "called = opcode == CALL",
    ),
    "no load behind growth": (
        "run_unsigned(CALL, in.grow);\n    run = write_reload(run);",
        "run_unsigned(CALL, in.grow);",
    ),
    "no load behind a charge": (
        "run_unsigned(CALL, in.charge);\n      run = write_reload(run);",
        "run_unsigned(CALL, in.charge);",
    ),
    "no check in loops": ("if (in_loop) put = write_check(put);", "(void)in_loop;"),
    "no check at the entry": ("to = write_check(to);", ""),
    "entering costs nothing": (
        "to = write_charge(to, 1 + first_cost, 1)",
        "to = write_charge(to, first_cost, 1)",
    ),
    "a weight without the nesting": ("FRAME_UNITS + values + nesting +", "FRAME_UNITS + values +"),
    "the height is not lowered": ("*to++ = 0x6A; *to++ = 0x24;", "*to++ = 0x6A; *to++ = 0x23;"),
    "a limit of one unit more": ("STACK_UNITS = 262144", "STACK_UNITS = 262145"),
    "`return` leaves one block too few": ("run_unsigned(BR, depth - 1);", "run_unsigned(BR, depth - 2);"),
    "growth is not recorded": ("result.has |= HAS_GROWTH;", ""),
    "room for more locals than there is": ("MOST_LOCALS = 49984", "MOST_LOCALS = 50000"),
}


def _given() -> Iterator[bytes]:
    yield wat(f"(module … (func (local {'i32 ' * 49_990}) (drop (local.get 0))))")
    yield wat(
        "(module … (func (drop (memory.grow (i32.const 1)))) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))"
    )
    yield wat("(module … (func (block (loop (br_if 1 (i32.const 1)) (return)))))")
    rng = random.Random(3)
    for _ in range(12):
        yield dense_module(rng)


@pytest.mark.skipif(shutil.which("clang-16") is None, reason="clang 16 is not installed")
@pytest.mark.parametrize("fault", NATIVE_FAULTS)
def test_a_fault_in_c_differs_from_python(tmp_path: Path, fault: str) -> None:
    text, faulty = NATIVE_FAULTS[fault]
    copy = tmp_path / "native"
    shutil.copytree(NATIVE, copy)
    source = (copy / "body.c").read_text()
    assert source.count(text) == 1, "the source has changed: change the fault"
    (copy / "body.c").write_text(source.replace(text, faulty))
    subprocess.run(["sh", str(copy / "build.sh")], check=True, timeout=120)
    native = validator_module.ModuleValidator().instantiate((copy / "body.wasm").read_bytes())

    different = 0
    for data in _given():
        one, other = read_module(data), read_module(data)
        different += (
            meter_module(one) != meter_module(other, native=native) or one.memory_grows != other.memory_grows
        )
    assert different
