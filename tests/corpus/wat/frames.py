"""Write the modules that recurse as deep as the stack's units allow, with frames of every shape.

`stack` and `stack_results` take a letter and a depth as arguments, call that function so often from itself, and
write what came of it: eight bytes that depend on every value that lay in the frames. `spills` and `spills_simd`
make frames that compilers cannot keep small, a hundred locals that stay alive over calls, changed 5,000 times, and
call a host function from each.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

_FRAME = """\
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 24) "\\10\\00\\00\\00\\08\\00\\00\\00")
  (type $shape (func (param i32) (result i64)))
  (table funcref (elem {names}))
  (func $number (param $at i32) (result i32) (local $value i32)
    (block $done
      (loop $digits
        (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
        (local.set $value
          (i32.add
            (i32.mul (local.get $value) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digits)))
    (local.get $value))
{functions}
  (func (export "_start")
    (drop (call $args_get (i32.const 32) (i32.const 64)))
    (i64.store (i32.const 16)
      (call_indirect (type $shape)
        (call $number (i32.load (i32.const 40)))
        (i32.sub (i32.load8_u (i32.load (i32.const 36))) (i32.const 97))))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""

_LESS = "(i32.sub (local.get $n) (i32.const 1))"
_NUMBER = "(i64.extend_i32_u (local.get $n))"


def _mixed(*terms: str) -> str:
    """Return code that mixes i64 terms into one."""
    code = terms[0]
    for term in terms[1:]:
        code = f"(i64.xor (i64.rotl {code} (i64.const 7)) {term})"
    return code


def _recursive(name: str, body: str, *, locals_: str = "") -> str:
    return f"""\
  (func ${name} (param $n i32) (result i64) {locals_}
    (if (i32.eqz (local.get $n)) (then (return (i64.const 1))))
    {body})"""


def _plain(name: str) -> str:
    return _recursive(name, f"(i64.add (i64.const 3) (call ${name} {_LESS}))")


def _host(name: str) -> str:
    """Return a function that calls host functions where the stack is fullest."""
    return f"""\
  (func ${name} (param $n i32) (result i64)
    (if (i32.eqz (local.get $n))
      (then
        (drop (call $random_get (i32.const 16) (i32.const 8)))
        (drop (call $fd_write (i32.const 1) (i32.const 24) (i32.const 1) (i32.const 8)))
        (return (i64.load (i32.const 16)))))
    (i64.add (i64.const 3) (call ${name} {_LESS})))"""


def _indirect(name: str) -> str:
    call = f"(call_indirect (type $shape) {_LESS} (i32.const 1))"
    return _recursive(name, _mixed(call, _NUMBER))


def _loops(name: str) -> str:
    call = f"(local.set $r (call ${name} {_LESS}))"
    return _recursive(
        name, f"{'(loop ' * 60}{call}{')' * 60} {_mixed('(local.get $r)', _NUMBER)}", locals_="(local $r i64)"
    )


def _ifs(name: str) -> str:
    call = f"(local.set $r (call ${name} {_LESS}))"
    opened = "(if (local.get $n) (then " * 60
    return _recursive(
        name, f"{opened}{call}{'))' * 60} {_mixed('(local.get $r)', _NUMBER)}", locals_="(local $r i64)"
    )


def _locals(name: str) -> str:
    count = 400
    declared = " ".join(f"(local $l{i} {'f64' if i % 3 == 0 else 'i64'})" for i in range(count))
    sets = []
    terms = [f"(call ${name} {_LESS})"]
    for i in range(count):
        if i % 3:
            sets.append(f"(local.set $l{i} (i64.mul {_NUMBER} (i64.const {i})))")
            terms.append(f"(local.get $l{i})")
        else:
            sets.append(f"(local.set $l{i} (f64.convert_i32_u (i32.add (local.get $n) (i32.const {i}))))")
            terms.append(f"(i64.reinterpret_f64 (local.get $l{i}))")
    return _recursive(name, "\n    ".join([*sets, _mixed(*terms)]), locals_=declared)


def _operands(name: str) -> str:
    count = 200
    pushed = " ".join(f"(i64.add {_NUMBER} (i64.const {i}))" for i in range(count))
    return _recursive(name, f"{pushed} (call ${name} {_LESS}) {'(i64.sub) ' * count}")


def _floats(name: str) -> str:
    count = 200
    pushed = " ".join(
        f"(f64.sqrt (f64.convert_i32_u (i32.add (local.get $n) (i32.const {i}))))" for i in range(count)
    )
    call = f"(f64.convert_i64_u (call ${name} {_LESS}))"
    return _recursive(name, f"{pushed} {call} {'(f64.sub) ' * count} (i64.reinterpret_f64)")


def _params(name: str) -> str:
    kinds = ["i64", "f64", "i32", "i64", "f64"] * 8
    params = " ".join(f"(param $p{i} {kind})" for i, kind in enumerate(kinds))
    passed = " ".join(f"(local.get $p{(i + 5) % len(kinds)})" for i in range(len(kinds)))
    terms = [f"(call ${name}_inner {_LESS} {passed})"]
    for i, kind in enumerate(kinds):
        get = f"(local.get $p{i})"
        terms.append(
            {"i64": get, "i32": f"(i64.extend_i32_u {get})", "f64": f"(i64.reinterpret_f64 {get})"}[kind]
        )
    first = " ".join(f"({kind}.const {i})" for i, kind in enumerate(kinds))
    return f"""\
  (func ${name}_inner (param $n i32) {params} (result i64)
    (if (i32.eqz (local.get $n)) (then (return (i64.const 1))))
    {_mixed(*terms)})
  (func ${name} (param $n i32) (result i64) (call ${name}_inner (local.get $n) {first}))"""


def _large(name: str) -> str:
    """Return a function whose code weighs most: 1,500 steps, none of which a compiler can leave out."""
    step = "(local.set $r (i64.add (i64.rotl (local.get $r) (i64.const {0})) (i64.const {1})))"
    steps = "\n    ".join(step.format(i % 61, i * 7919) for i in range(1_500))
    return _recursive(
        name, f"{steps} {_mixed(f'(call ${name} {_LESS})', '(local.get $r)')}", locals_="(local $r i64)"
    )


def _results(name: str) -> str:
    kinds = ["i64", "f64", "i32"] * 8
    declared = " ".join(f"(local $r{i} {kind})" for i, kind in enumerate(kinds))
    constants = " ".join(f"({kind}.const {i})" for i, kind in enumerate(kinds))
    taken = " ".join(f"(local.set $r{i})" for i in reversed(range(len(kinds))))
    given = " ".join(
        f"({kind}.add (local.get $r{(i + 3) % len(kinds)}) ({kind}.const 1))" for i, kind in enumerate(kinds)
    )
    terms = []
    for i, kind in enumerate(kinds):
        get = f"(local.get $r{i})"
        terms.append(
            {"i64": get, "i32": f"(i64.extend_i32_u {get})", "f64": f"(i64.reinterpret_f64 {get})"}[kind]
        )
    return f"""\
  (func ${name}_inner (param $n i32) (result {" ".join(kinds)}) {declared}
    (if (i32.eqz (local.get $n)) (then {constants} (return)))
    (call ${name}_inner {_LESS}) {taken} {given})
  (func ${name} (param $n i32) (result i64) {declared}
    (call ${name}_inner (local.get $n)) {taken} {_mixed(*terms)})"""


def _stack(shapes: list[Callable[[str], str]]) -> str:
    names = [shape.__name__.strip("_") for shape in shapes]
    functions = "\n".join(shape(name) for shape, name in zip(shapes, names, strict=True))
    return _FRAME.format(names=" ".join(f"${name}" for name in names), functions=functions)


def _spills(kinds: list[str], seed: int) -> str:
    """Return a module whose `_start` calls a function that never ends to call itself."""
    numbers = random.Random(seed)
    size = {"i64": 8, "f64": 8, "v128": 16}
    lines = []
    address = 0
    for _ in range(5_000):
        i = numbers.randrange(len(kinds))
        lines.append(
            f"({kinds[i]}.store offset={address} (i32.const 0) (local.get $l{i})) "
            f"(local.set $l{i} ({kinds[i]}.load offset={address} (i32.const 0))) (call $nothing)"
        )
        address += size[kinds[i]]
    stores = [
        f"({kind}.store offset={address + 16 * i} (i32.const 0) (local.get $l{i}))"
        for i, kind in enumerate(kinds)
    ]
    declared = " ".join(f"(local $l{i} {kind})" for i, kind in enumerate(kinds))
    body = "\n    ".join(["(drop (call $sched_yield))", *lines, "(call $deep)", *stores])
    return f"""\
(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (memory (export "memory") 4)
  (func $nothing)
  (func $deep {declared}
    {body})
  (func (export "_start") (call $deep)))
"""


def modules() -> dict[str, str]:
    """Return each module's text by its name."""
    return {
        "stack": _stack(
            [_plain, _indirect, _loops, _ifs, _locals, _operands, _floats, _params, _large, _host],
        ),
        "stack_results": _stack([_results]),
        "spills": _spills(["i64", "f64"] * 50, seed=1),
        "spills_simd": _spills(["v128"] * 100, seed=2),
    }


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    for name, text in modules().items():
        (directory / f"{name}.wat").write_text(text)
