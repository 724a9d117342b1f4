"""The rewriter of the TypeScript package makes the code that Python's makes, byte for byte, or refuses the module."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from plasm_core.sandbox.metering import control, function_body, handlers
from plasm_core.sandbox.metering.binary import Reader, sized, unsigned, vector
from plasm_core.sandbox.metering.module import CODE
from plasm_core.sandbox.metering.rewrite import Metered, _Rewriter, meter, meter_module
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process import worker, worker_frames
from plasm_core.trap_kinds import TRAP_KINDS
from tests.fuzz.dense import dense_module
from tests.sandbox.metering.digests import large_module
from tests.sandbox.metering.padded import modules as padded_modules
from tests.sandbox.metering.test_native_body import BODIES, MODULES, TEXTS
from tests.sandbox.modules import command, wat
from tests.sdk.conftest import PACKAGE, ROOT

V8: dict[str, bool] = {"canonical_nans": True, "trap_checks": True}
KINDS: tuple[dict[str, bool], ...] = ({}, {"floats": True}, {"lowered": True}, {"raising": True})
GAS, SEEDS = 200_000, 100
VECTORS = ROOT / "tests" / "vectors"


def told(built: Path, script: str, lines: Sequence[str]) -> list[str]:
    """Return the lines that a script of the package's tests prints."""
    done = subprocess.run(
        ["node", f"test/{script}"],
        input="".join(f"{line}\n" for line in lines),
        env={**os.environ, "PLASM_SDK": str(built)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=PACKAGE,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout.splitlines()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def without_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away from Python's rewriter what TypeScript's leaves out on purpose.

    Wasm3 needs copies of locals that are read and changed, and a block before a branch that carries a float; the
    package never runs wasm3. A host that calls the functions itself sees whether an exception left them.
    """
    monkeypatch.setattr(function_body.Body, "rewrite", function_body.Body._rewritten)
    plain = {value_type: (count, False) for value_type, (count, _) in control.VALUE_BLOCKS.items()}
    monkeypatch.setattr(function_body, "VALUE_BLOCKS", plain)
    for module in (function_body, handlers):
        monkeypatch.setattr(module, "ends_in_float", lambda _results: False)
    monkeypatch.setattr(_Rewriter, "_ending_exceptions", lambda _self, function: function)


def _line(metered: Metered) -> str:
    features = sorted(metered.module.features & {"exceptions", "tail-calls"})
    return " ".join((encoded(metered.code), *features))


def differing(built: Path, modules: dict[str, bytes]) -> list[str]:
    """Return the names of the modules that both do not meter to the same code."""
    made = told(built, "metering.mjs", [encoded(data) for data in modules.values()])
    ours = [_line(meter(data, **V8)) for data in modules.values()]
    return [name for name, one, other in zip(modules, ours, made, strict=True) if one != other]


@pytest.mark.usefixtures("without_differences")
def test_programs_and_vectors_are_metered_alike(built: Path) -> None:
    named = {str(path): path.read_bytes() for path in MODULES if path.stem != "entry"}

    assert len(named) > 40
    assert differing(built, named) == []


def own_bodies(code: bytes, count: int) -> list[bytes]:
    """Return the first functions' entries of metered code: those of the original."""
    module = read_module(code)
    reader = Reader(code, *module.sections[CODE])
    reader.unsigned()
    return [reader.bytes(reader.unsigned()) for _ in range(count)]


@pytest.mark.usefixtures("without_differences")
@pytest.mark.parametrize(("vectors", "field"), [("exceptions", "module_hex"), ("files", "entry_module_hex")])
def test_the_functions_of_a_module_with_an_entry_are_metered_alike(
    built: Path, vectors: str, field: str
) -> None:
    """Around an entry Python puts a function, where TypeScript calls one export after the other."""
    data = bytes.fromhex(json.loads((VECTORS / f"{vectors}.json").read_text())[field])
    module = read_module(data)
    entry = next(item.name for item in module.exports if item.kind == "function" and item.name[:1] != "_")

    (made,) = told(built, "metering.mjs", [f"{encoded(data)} {entry}"])

    count = len(module.functions)
    ours = meter_module(read_module(data), entry=entry, **V8)  # type: ignore[arg-type]
    assert own_bodies(base64.b64decode(made.split()[0]), count) == own_bodies(ours, count)


def generated() -> Iterator[tuple[str, bytes]]:
    rng = random.Random(20261201)
    for number in range(SEEDS):
        for kind in KINDS:
            yield f"dense {number} {kind}", dense_module(rng, **kind)
    for number in range(10):
        yield f"large {number}", large_module(rng)


@pytest.mark.usefixtures("without_differences")
def test_generated_modules_are_metered_alike(built: Path) -> None:
    assert differing(built, dict(generated())) == []


@pytest.mark.usefixtures("without_differences")
def test_single_instructions_are_metered_alike(built: Path) -> None:
    """Padded integers, dead code, many locals and the like."""
    named = {name: command(body) for name, body in BODIES.items()}
    exceptions = (b"\x02\x69\xd0\x69\x0b\x1a", b"\xd0\x69\x1a", b"\xd0\x69\xd0\x69\x41\x00\x1c\x01\x69\x1a")
    named |= {
        f"exceptions {code!r}": command(code)
        for code in (*exceptions, *(b"\x0f" + code for code in exceptions))
    }
    named |= {f"text: {name}": wat(f"(module … {text})") for name, text in TEXTS.items()}
    for padded in (False, True):
        named |= {f"{name}, {padded=}": data for name, data in padded_modules(padded=padded).items()}
    most = 50_000 - 16  # beyond, there is no local for the gas
    for count in (most - 1, most, most + 1, 50_000):
        text = f"(func (local {'i32 ' * count}) (loop (call 0) (br_if 0 (local.get 5))) (call 0) (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))"
        named[f"{count} locals"] = wat(f"(module … {text})")

    assert differing(built, named) == []


def observed(engine: Any, data: bytes, gas: int) -> tuple[dict[str, Any], int, str]:
    """Return outcome, gas and standard output of a run of Python's code as it is, on wasmtime."""
    output = bytearray()
    job = worker_frames.WorkerJob(
        worker_frames.pack_job(
            gas=gas,
            memory_bytes=1 << 24,
            output_bytes=1 << 16,
            stdin_bytes=0,
            cpu_s=60,
            flags=0,
            seed=bytes(32),
            args=(),
            env=(),
        )
    )
    host, instance = worker.make_instance(engine.load(engine.compile(meter(data).code)))
    packed = worker.run(
        instance, host, job, worker.FileStdin(None, 0), lambda _stream, given: output.extend(given)
    )
    kind, code, trap, used, *_ = worker_frames.unpack_outcome(packed)
    outcome: dict[str, Any] = {"kind": kind}
    if kind == "exited":
        outcome["code"] = code
    if kind == "trapped":
        outcome["trap"] = TRAP_KINDS[trap]
    return outcome, used, output.hex()


def test_runs_that_end_anywhere_are_observed_alike(built: Path) -> None:
    """Python's code has the workarounds for wasm3 here, and the gas ends in the midst of runs."""
    engine = pytest.importorskip("plasm_runtime_wasmtime.engine").WasmtimeEngine()
    rng = random.Random(20261202)
    cases = []
    for number in range(60):
        data = dense_module(rng, **KINDS[number % 2])  # Node 20 lacks what the others use
        whole = observed(engine, data, GAS)
        cases.append((data, GAS, whole))
        limits = {whole[1] - 1, *(rng.randrange(whole[1] + 1) for _ in range(5))}
        cases += [(data, gas, observed(engine, data, gas)) for gas in limits]

    made = told(built, "gas.mjs", [f"{encoded(data)} {gas} plasm.det/v1" for data, gas, _ in cases])

    theirs = [tuple(json.loads(line)) for line in made]
    assert [index for index, (_, _, seen) in enumerate(cases) if seen != theirs[index]] == []
    ends = {seen[0]["kind"] for _, _, seen in cases}
    assert ends == {"exited", "trapped", "out_of_gas"}


# -- what must not be misread

_TRY = b"\x06\x40\x0b"
DEAD = {
    "exceptions before WebAssembly 3.0": _TRY,
    "threads": b"\xfe\x10\x02\x00",
    "garbage collection": b"\xfb\x14\x0b",
    "a null of a longer type": b"\xd0\x63\x70",
    "a number behind 0xfc": b"\xfc\x12\x00",
    "relaxed SIMD": b"\xfd\x80\x02",
    "another memory": b"\x28\x42\x00\x00",
    "another memory, a vector": b"\xfd\x00\x44\x00\x00",
}


@pytest.mark.parametrize("reached", [False, True])
def test_instructions_of_other_features_are_refused_in_dead_code_too(built: Path, reached: bool) -> None:
    """V8 has features that jobs do not have. With one whose immediates are misread, code that it takes as dead lives."""
    before = b"\x41\x00\x41\x00" if reached else b"\x00"

    made = told(built, "metering.mjs", [encoded(command(before + code)) for code in DEAD.values()])

    assert [line.partition(":")[0] for line in made] == ["BadModuleError feature"] * len(DEAD)


def test_no_immediate_in_dead_code_becomes_an_instruction(built: Path) -> None:
    """The guest would write the gas counter: its constant is read as code, if `try` and `catch` are misread."""
    hidden = (
        b"\x0b\x42\xff\xff\xff\xff\x0f\x24\x00\x02\x40\x02\x40\x0c\x00\x01"  # end; i64.const; global.set …
    )
    dead = b"\x06\x40\x01\x07\x41\xfd\x0c" + hidden + b"\x1a\x0b"  # try; nop; catch 65; v128.const; drop; end
    body = b"\x02\x40\x41\x01\x0d\x00\x00" + dead + b"\x0b"
    parts = (
        (1, vector([b"\x60\0\0"])),
        (3, vector([b"\0"])),
        (5, vector([b"\0\1"])),
        (13, vector([b"\0\0"] * 66)),
        (7, vector([sized(b"_start") + b"\0\0", sized(b"memory") + b"\2\0"])),
        (10, vector([sized(b"\0" + body + b"\x0b")])),
    )
    data = b"\0asm\1\0\0\0" + b"".join(bytes((number,)) + sized(content) for number, content in parts)

    (made,) = told(built, "gas.mjs", [f"{encoded(data)} 1000 plasm.det/v2"])

    assert made.startswith('"BadModuleError')


def test_what_cannot_be_compiled_is_refused(built: Path) -> None:
    large = b"\x41\x00\x41\x00\x41\x00\xfc\x0b\x00" * 800_000
    locals_ = vector([unsigned(50_000) + b"\x7d"]) + b"\x20\x00\x20\x00\x92\x1a\x0b"
    many = command(b"").replace(sized(b"\0\x0b"), sized(locals_))
    many = many.replace(b"\x0a\x04\x01", b"\x0a" + unsigned(1 + len(sized(locals_))) + b"\x01")

    made = told(built, "gas.mjs", [f"{encoded(data)} 1000 plasm.det/v1" for data in (command(large), many)])

    assert [json.loads(line).partition(":")[0] for line in made] == [
        "BadModuleError function_too_large",
        "BadModuleError engine_limit",
    ]
