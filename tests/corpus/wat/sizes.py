"""Write modules whose parts are as large as every engine can take them, and a little larger than some can.

The former must run everywhere. The latter are for engines to refuse by the name of a feature.
"""

import sys
from pathlib import Path

_HEAD = """\
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") {pages})
  (global $sum (mut i64) (i64.const 0))
  (func $mix (param $value i64)
    (global.set $sum
      (i64.add (i64.rotl (i64.mul (global.get $sum) (i64.const 31)) (i64.const 7)) (local.get $value))))
  (func $write
    (i64.store (i32.const 16) (global.get $sum))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
"""


def _module(body: str, start: str, *, pages: int = 1) -> str:
    return f'{_HEAD.format(pages=pages)}{body}\n  (func (export "_start") {start} (call $write)))\n'


def branches(targets: int = 5_000, depth: int = 1_000) -> str:
    """Return a module with a br_table of many targets, each the end of one of many nested blocks."""
    labels = " ".join(f"$b{i * 7 % depth}" for i in range(targets))
    code = f"(br_table {labels} $b0 (local.get $which))"
    for i in range(depth):
        code = f"(block $b{i} {code}) (local.set $passed (i32.add (local.get $passed) (i32.const 1)))\n    "
    body = f"""\
  (func $jump (param $which i32) (result i32) (local $passed i32)
    {code}
    (local.get $passed))"""
    start = f"""(local $i i32)
    (loop $each
      (call $mix (i64.extend_i32_u (call $jump (local.get $i))))
      (br_if $each
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 13))) (i32.const {targets + 20}))))
    (call $mix (i64.extend_i32_u (call $jump (i32.const -1))))"""
    return _module(body, start)


def constants(count: int = 450) -> str:
    """Return a module with a function that holds so many different constants at once, of each number type."""
    halves = []
    for kind, turned in (("i64", ""), ("f64", "i64.reinterpret_f64"), ("i32", "i64.extend_i32_s")):
        pushed = " ".join(f"({kind}.const {7919 * i + 1})" for i in range(count))
        taken = f"({turned}) (call $mix) " if turned else "(call $mix) "
        halves.append(f"  (func $push_{kind} {pushed} {taken * count})")
    return _module("\n".join(halves), "(call $push_i64) (call $push_f64) (call $push_i32)")


def functions(count: int = 2_000) -> str:
    """Return a module of many functions of many types, each called through the table by its own type."""
    kinds = ["i32", "i64", "f64", "f32"]
    lines, calls = [], []
    for i in range(count):
        params = [kinds[i >> 2 * j & 3] for j in range(6)]
        declared = " ".join(params)
        lines.append(f"(func $f{i} (param {declared}) (result i64) (i64.const {i * i}))")
        given = " ".join(f"({kind}.const {i})" for kind in params)
        if i % 9 == 0:
            calls.append(
                f"(call $mix (call_indirect (param {declared}) (result i64) {given} (i32.const {i})))"
            )
    table = f"(table funcref (elem {' '.join(f'$f{i}' for i in range(count))}))"
    return _module("  " + "\n  ".join([*lines, table]), "\n    ".join(calls))


def reads(count: int = 300) -> str:
    """Return a module that reads a local so often before it sets it, or begins a block, and then uses the values."""
    functions = []
    for kind, turned in (("i32", "i64.extend_i32_u "), ("i64", "")):
        for name, between in (("set", f"({kind}.const 5) (local.set 0)"), ("block", "(block)")):
            pushed = "(local.get 0) " * count
            taken = f"{turned}(call $mix) " * count
            functions.append(f"  (func ${kind}_{name} (param {kind}) {pushed} {between} {taken})")
    start = " ".join(
        f"(call ${kind}_{name} ({kind}.const {value}))"
        for kind, value in (("i32", 0x12345678), ("i64", 0x123456789ABCDEF))
        for name in ("set", "block")
    )
    return _module("\n".join(functions), start)


def values(params: int, locals_: int, operands: int) -> str:
    """Return a module with a function of so many values, all in use, beside the two of its widest call."""
    declared = " ".join(["i64", "f64"] * (params // 2)), " ".join(["f64", "i64"] * (locals_ // 2))
    sets = " ".join(
        f"(local.set {params + i} ({'i64' if i % 2 else 'f64'}.const {i}))" for i in range(locals_)
    )
    pushed = " ".join(f"(i64.add (local.get 0) (i64.const {i}))" for i in range(operands))
    mixed = " ".join(
        f"(call $mix (local.get {i}))"
        if (i % 2 == 0) == (i < params)
        else f"(call $mix (i64.reinterpret_f64 (local.get {i})))"
        for i in range(params + locals_)
    )
    body = f"""\
  (func $many (param {declared[0]}) (local {declared[1]})
    {sets}
    {mixed}
    {pushed}
    {"(call $mix) " * operands})"""
    given = " ".join(f"({'f64' if i % 2 else 'i64'}.const {i})" for i in range(params))
    return _module(body, f"(call $many {given})")


def modules() -> dict[str, str]:
    """Return each module's text by its name."""
    return {
        "branches": branches(),
        "constants": constants(),
        "functions": functions(),
        "reads": reads(),
        # 400 parameters and 1,000 values are the most that every engine takes.
        "wide_type": values(400, 100, 100),
        "wider_type": values(402, 100, 100),
        "large_frame": values(100, 500, 398),
        "larger_frame": values(100, 500, 399),
        "large_memory": _module("", f"(i64.store (i32.const {2**30 - 8}) (i64.const 1))", pages=16_384),
        "larger_memory": _module("", f"(i64.store (i32.const {2**30}) (i64.const 1))", pages=16_385),
        "large_table": _table(100_000),
        "larger_table": _table(100_001),
        "large_name": _name(10_000),
        "larger_name": _name(10_001),
    }


def _table(size: int) -> str:
    """Return a module with a table whose segments end there."""
    body = f"  (table {size} funcref) (elem (i32.const {size - 1}) $last) (func $last (result i64) (i64.const 9))"
    return _module(body, f"(call $mix (call_indirect (result i64) (i32.const {size - 1})))")


def _name(length: int) -> str:
    """Return a module with an export of so long a name."""
    return _module(f'  (export "{"x" * length}" (func $mix))', "(call $mix (i64.const 1))")


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    for name, text in modules().items():
        (directory / f"{name}.wat").write_text(text)
