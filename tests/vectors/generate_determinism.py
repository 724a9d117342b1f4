"""Write determinism.json: what every task of the corpus must come to.

    python -m tests.vectors.generate_determinism

It runs each task on wasmtime, through a node. That the other engines come to the same is what tests/agreement
holds. Some numbers can be had from docs/determinism.md alone, and are asserted below:

- `wat/growth_charge`: entering `_start` costs 1. Its loop turns 10 times; a turn is one run of 9 instructions
  that cost 1 (const, memory.grow, get, const, add, tee, const, lt_u, br_if; drop is free), and memory.grow costs
  its operand, 65,536, though it is refused: 1 + 10 * (9 + 65,536) = 655,451.
- `wat/partial_table`: entering `_start` 1; const and call_indirect 2; entering `$nothing` 1; const and
  call_indirect 2, charged before the call traps: 6.
- `wat/exit`, argument 0: entering `_start` 1; const, const, call 3; args_get 1,000, and 4 for each of 2 pointers
  and 1 for each of the 7 bytes of "main", "0" and their terminators, 15; entering `$number` behind it 1. There:
  const, load, set 3 and the loop's first run (get, load8_u, eqz, br_if) 4; the next run (get, const, mul, get,
  load8_u, const, sub, add, set, get, const, add, set, br) 14; the loop again 4, whose br_if leaves; get 1. Then,
  behind the calls: drop and call of `$number` 1, call of proc_exit 1 and 1,000 for it. In all 2,048.
- The greatest depth of each function of `wat/stack` is computed from the weights of tests/support/reference.py.
"""

from __future__ import annotations

import json
import os
import string
import tempfile
from collections.abc import Iterator, Sequence

import attrs

from plasm_core import config
from plasm_core.local_node import LocalNode
from plasm_core.records.digest import sha256
from plasm_core.records.manifest import GAS_SCHEDULE, PROFILE, Limits
from plasm_core.records.outcome import RECHECKABLE
from tests.agreement.vectors import CORPUS, FILE, Task, Vector, module_code, run, to_json
from tests.support.decoder import decode
from tests.support.reference import STACK_UNITS, weight_of

MIB = 1 << 20
GAS = 10_000_000_000
TEXT = "inputs/pangrams.txt"
_BY_HAND = {"wat/growth_charge": 655_451, "wat/partial_table": 6, "wat/exit 0": 2_048}


def task(
    module: str,
    *args: str,
    label: str = "",
    env: tuple[str, ...] = (),
    stdin: bytes = b"",
    stdin_file: str = "",
    seed: str = "00" * 32,
    gas: int = GAS,
    memory: int = 16 * MIB,
    output: int = 4 * MIB,
) -> Task:
    """Return a task, named by its module, its arguments, and a label if there are others like it."""
    return Task(
        name=" ".join([module, *args, *([f"({label})"] if label else [])]),
        module=f"{module}.wasm",
        args=tuple(item.encode() for item in args),
        env=tuple(item.encode() for item in env),
        stdin=stdin,
        stdin_file=stdin_file,
        seed=seed,
        limits=Limits(gas=gas, memory_bytes=memory, output_bytes=output),
    )


def _compiled() -> Iterator[Task]:
    """Programs in C, Rust and AssemblyScript."""
    yield task("c/allocation")
    yield task("c/allocation", memory=2 * MIB, label="2 MiB")
    yield task("c/compress")
    yield task("c/compress", stdin_file=TEXT, label="text")
    yield task("c/compress", stdin_file="wat/functions.wasm", label="binary")
    yield task("c/formats")
    yield task("c/integers")
    environment = ("LANG=C.UTF-8", "HOME=/nowhere")
    yield task("c/machine", "7", "two words", "ünï", env=environment, stdin=b"some\nlines\n")
    yield task("c/machine", seed="0123456789abcdef" * 4, label="seed")
    yield task("c/mandelbrot")
    yield task("c/nbody", "500")
    yield task("c/recursion", "2000")
    yield task("c/recursion", "30000", label="too deep")
    yield task("c/sha256")
    yield task("c/sha256", stdin=b"abc", label="abc")
    yield task("c/sha256", stdin_file=TEXT, label="text")
    yield task("c/sorting")
    yield task("c/strings")
    yield task("c/strings", stdin_file=TEXT, label="text")
    yield task("rust/words", "argument", env=environment, stdin_file=TEXT)
    yield task("rust/words", stdin_file=TEXT, seed="ff" * 32, label="seed")
    for arguments in (
        *("index 0", "unwrap 0", "divide 0", "overflow 0", "borrow", "exit 9", "exit -1", "abort"),
        *("recurse 3", "allocate 4", "read", "thread", "sleep", "fly"),
    ):
        yield task("rust/failures", *arguments.split())
    yield task("assemblyscript/collections")
    yield task("assemblyscript/collections_bulk")


def _instructions() -> Iterator[Task]:
    """Every instruction, by its results' bits."""
    for kind in ("i32", "i64", "f32", "f64"):
        yield task(f"wat/numeric_{kind}")
        yield task(f"wat/folded_{kind}")
    for name in ("numeric_f32_bits", "numeric_f64_bits", "numeric_simd", "signalling"):
        yield task(f"wat/{name}")
    for name in (
        "control",
        "references",
        "multi_value",
        "bulk_memory",
        "reference_types",
        "extended_constants",
    ):
        yield task(f"wat/{name}", gas=20_000_000_000)
    for way in string.ascii_lowercase:
        yield task("wat/traps", way)
    for way in string.ascii_lowercase[:17]:
        yield task("wat/bulk_traps", way)
    for way in string.ascii_lowercase[:9]:
        yield task("wat/reference_traps", way)
    yield task("wat/partial_table")


def _host() -> Iterator[Task]:
    """What a job sees of its host, and its limits."""
    yield task("wat/echo")
    yield task(
        "wat/echo",
        "a",
        "",
        "zwei Wörter",
        env=("NAME=value", "EMPTY=", "EQUALS=a=b"),
        stdin_file=TEXT,
        label="all",
    )
    for code in ("0", "1", "126", "255", "256", "4294967295", "4294967299"):
        yield task("wat/exit", code)
    yield task("wat/host_calls", "one", "two", env=("A=b",), stdin=bytes(range(100)))
    yield task("wat/machine", stdin=b"0123456789")
    yield task("wat/machine", seed="5eed" * 16, label="seed")
    for way in ("returns", "traps", "exits", "loops", "stack"):
        yield task("wat/start_section", way, gas=10_000_000)
    yield task("wat/memory_growth", gas=20_000_000_000)
    yield task("wat/memory_growth", memory=5 << 16, label="5 pages", gas=20_000_000_000)
    yield task("wat/memory_growth", memory=(5 << 16) + 65_535, label="5 pages and a bit", gas=20_000_000_000)
    yield task("wat/memory_growth", memory=2 << 16, label="2 pages", gas=20_000_000_000)
    yield task("wat/growth_charge")
    yield task("wat/growth_charge", gas=2**53 - 1, label="all gas there is")
    yield task("wat/empty_memory")
    for out, err, limit in (
        *((0, 0, 0), (1, 0, 0), (0, 1, 0), (5_000, 5_000, 5_000), (5_001, 0, 5_000), (5_000, 5_001, 5_000)),
        *((5_333, 0, 5_200), (5_334, 0, 5_333), (200_000, 65_537, 200_000)),
    ):
        yield task("wat/output", str(out), str(err), output=limit, label=f"limit {limit}")


def _sizes() -> Iterator[Task]:
    """Modules as large as every engine takes them, and a little larger."""
    for name in (
        "branches",
        "constants",
        "functions",
        "reads",
        "large_frame",
        "larger_frame",
        "wide_type",
        "wider_type",
    ):
        yield task(f"wat/{name}")
    for name in ("large_table", "larger_table", "large_name", "larger_name"):
        yield task(f"wat/{name}")
    for name in ("large_memory", "larger_memory"):
        yield task(f"wat/{name}", memory=2048 * MIB)


_DEEP = {"wat/stack": "abcdefghij", "wat/stack_results": "a"}


def _deep() -> Iterator[Task]:
    """Functions that call themselves as deep as they may, and once more."""
    yield task("wat/stack", "a", "100")
    for module, letters in _DEEP.items():
        for letter in letters:
            depth = greatest_depth(module, letter)
            yield task(module, letter, str(depth))
            yield task(module, letter, str(depth + 1))
    yield task("wat/spills")
    yield task("wat/spills_simd")


def greatest_depth(module: str, letter: str) -> int:
    """Return how often that function may call itself, by the weights of `_start`, of it, and of what wraps it."""
    parsed = decode(module_code(f"{module}.wasm"))
    imported = len(parsed.imports)
    signatures = [*parsed.imports, *(function.type for function in parsed.functions)]

    def weight(index: int) -> int:
        return weight_of(parsed.functions[index - imported], signatures)

    chosen = parsed.elements[0].items[ord(letter) - ord("a")]
    body = parsed.functions[chosen - imported].body
    called = {instr.args[0] for instr in body if instr.name == "call" and instr.args[0] >= imported}
    room = STACK_UNITS - weight(parsed.exports["_start"].index)
    for inner in called - {chosen}:
        return (room - weight(chosen)) // weight(inner) - 1
    return room // weight(chosen) - 1


def _at_the_limit(found: Sequence[Vector]) -> Iterator[Task]:
    """Give some tasks the very gas that they used, and one less."""
    by_name = {vector.task.name: vector for vector in found}
    for name in _METERED:
        vector = by_name[name]
        for label, gas in (
            ("just enough gas", vector.expected.gas_used),
            ("too little gas", vector.expected.gas_used - 1),
        ):
            limits = attrs.evolve(vector.task.limits, gas=gas)
            yield attrs.evolve(vector.task, name=f"{name} ({label})", limits=limits)


_METERED = (
    *("c/formats", "c/sorting", "rust/words argument", "assemblyscript/collections", "wat/control"),
    *(
        "wat/bulk_memory",
        "wat/echo",
        "wat/exit 0",
        "wat/growth_charge",
        "wat/host_calls one two",
        "wat/machine",
    ),
    *("wat/traps g", "wat/bulk_traps a", "wat/stack a 100", "wat/output 5000 5000 (limit 5000)"),
    "wat/start_section exits",
)
"""Tasks that are run again with the very gas that they use, and with one less."""


def _vector(node: LocalNode, wanted: Task) -> Vector:
    expected = run(node, "wasmtime", wanted)
    if expected.outcome["kind"] not in RECHECKABLE:
        raise SystemExit(f"{wanted.name}: {expected.outcome}")
    by_hand = _BY_HAND.get(wanted.name, expected.gas_used)
    if expected.gas_used != by_hand:
        raise SystemExit(f"{wanted.name}: used {expected.gas_used}, but by hand it is {by_hand}")
    return Vector(task=wanted, task_digest=wanted.manifest().task_digest, expected=expected)


def _check(found: Sequence[Vector]) -> None:
    """Check what the document and the names promise."""
    outcomes = {vector.task.name: vector.expected.outcome for vector in found}
    assert len(outcomes) == len(found), "two tasks of one name"
    for name, outcome in outcomes.items():
        if "(too little gas)" in name:
            assert outcome["kind"] == "out_of_gas", name
        elif "(just enough gas)" in name:
            assert outcome == outcomes[name.removesuffix(" (just enough gas)")], name
    for module, letters in _DEEP.items():
        for letter in letters:
            depth = greatest_depth(module, letter)
            assert outcomes[f"{module} {letter} {depth}"] == {"kind": "exited", "code": 0}
            assert outcomes[f"{module} {letter} {depth + 1}"]["trap"] == "stack_exhausted"


def main() -> None:
    """Run everything on wasmtime and write the file."""
    with tempfile.TemporaryDirectory() as home:
        for name in ("STATE", "CACHE", "CONFIG"):
            os.environ[f"XDG_{name}_HOME"] = home
        with LocalNode(config.load(environ={})) as node:
            tasks = [*_compiled(), *_instructions(), *_host(), *_sizes(), *_deep()]
            found = [_vector(node, item) for item in tasks]
            found += [_vector(node, item) for item in _at_the_limit(found)]
            _check(found)
            found.sort(key=lambda vector: vector.task.module)
            modules = {}
            for module in dict.fromkeys(vector.task.module for vector in found):
                code = module_code(module)
                features = node.inspect(code).checked().features
                modules[module] = {"sha256": sha256(code), "features": features}
    unused = {str(file.relative_to(CORPUS)) for file in CORPUS.glob("*/*.wasm")} - modules.keys()
    if unused:
        raise SystemExit(f"no task for {', '.join(sorted(unused))}")
    document = {
        "profile": PROFILE,
        "gas_schedule": GAS_SCHEDULE,
        "modules": modules,
        "cases": list(map(to_json, found)),
    }
    FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
