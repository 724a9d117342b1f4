"""Compute exceptions.json from docs/determinism.md: what each entry of exceptions.wat must come to.

`python -m tests.vectors.generate_exceptions` writes the file again. The gas is added up by hand, from the text of the
module: 1 for entering a function, 1 for each instruction but the free ones, 1 more for each handler of a `try_table`
(so that one with a single handler costs 2), 1,000 more for a throw.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FILE = Path(__file__).with_name("exceptions.json")
MODULE = Path(__file__).resolve().parents[2] / "plasm_core" / "testing" / "modules" / "exceptions.wasm"
AMPLE = 10**9

_THROW_NUMBER = 1 + 1 + 1_001  # entering $throw_number; get; throw
_DEEP_TURN = 1 + 3 + 4  # entering $deep; get, eqz, if; get, const, sub, call
_DEEP_LAST = 1 + 3 + 1_001
_DEEP = 99 * _DEEP_TURN + _DEEP_LAST
_PASSED_TURN = (
    1 + 3 + 2 + 3 + 4
)  # entering $passed; two try_tables of 2 and 1; get, eqz, if; get, const, sub, call
_PASSED_LAST = 1 + 3 + 2 + 3 + 1 + 1_001
_COUNT_TURN = 1 + 3 + 4  # entering $count; get, eqz, if; get, const, sub, return_call
_COUNT_LAST = 1 + 3 + 1  # …; const; return is free
_WIDE = 1 + 2  # entering $wide; get, return_call


def exited(code: int) -> Json:
    return {"kind": "exited", "code": code}


def trapped(kind: str) -> Json:
    return {"kind": "trapped", "trap": kind}


def run(entry: str, outcome: Json, gas_used: int, *, gas: int = AMPLE) -> Json:
    return {"entry": entry, "gas": gas, "outcome": outcome, "gas_used": gas_used}


RUNS = [
    run("caught", exited(7), 1 + 3 + 1_001),  # entering; try_table, const; throw
    run("not thrown", exited(5), 1 + 3),
    run("caught from a call", exited(8), 1 + 4 + _THROW_NUMBER),
    run("uncaught", trapped("uncaught_exception"), 1 + 1_001),
    run("of another tag", trapped("uncaught_exception"), 1 + 2 + 1_001),
    run("the last of many handlers", exited(6), 1 + 7 + 1 + 1_001),
    run("handlers that do not match", exited(4), 1 + 4 + 50 * _PASSED_TURN + _PASSED_LAST),
    # entering; try_table, try_table, const, throw; set, get, throw_ref
    run("thrown again", exited(9), 1 + 5 + 1_001 + 2 + 1_001),
    run("value and reference", exited(10), 1 + 5 + 1_001 + 1_001),
    run("null reference", trapped("null_reference"), 1 + 1 + 1_001),
    # entering; try_table, const, const, reinterpret, const, reinterpret, const, throw; 3 sets; const, eq; get,
    # reinterpret, const, eq; get, reinterpret, const, eq; get, const, eq; 3 adds
    run("bits", exited(4), 1 + 8 + 1_001 + 3 + 2 + 4 + 4 + 3 + 3),
    run("trap", trapped("unreachable"), 1 + 2),
    run("exit", exited(3), 1 + 4 + 1_000),
    run("out of gas", {"kind": "out_of_gas"}, AMPLE),
    run("out of gas in a call", {"kind": "out_of_gas"}, 1_003, gas=1_003),
    run("out of gas in a call", exited(1), 1 + 3 + 1_000 + 1),
    # entering; try_table, 4 consts, call; the call, its vector and the 1 byte of 2 that is kept
    run("output limit", {"kind": "output_limit"}, 1 + 7 + 1_000 + 8 + 2),
    # The entry weighs 4 and its 2 blocks. Each $endless weighs 4 and costs 2, also the one that is one too many.
    run("stack exhausted", trapped("stack_exhausted"), 1 + 3 + 2 * ((262_144 - 6) // 4 + 1)),
    # a turn: try_table, const, call; get, const, add, tee, const, lt_u, br_if
    run("restored in a block", exited(1_000), 1 + 1_000 * (4 + _DEEP + 7) + 1),
    # a turn: get, const, add, tee, const, lt_u, if; try_table, const, call
    run("restored in a loop", exited(1_000), 1 + 1_000 * 7 + 999 * (4 + _DEEP) + 1),
    # a turn: get, call; try_table, const, call in $returns_number; add, set, and 7 for the loop
    run("restored at a function's end", exited(50_000), 1 + 50_000 * (2 + 1 + 4 + _THROW_NUMBER + 2 + 7) + 1),
    run("a million tail calls", exited(11), 1 + 2 + 1_000_000 * _COUNT_TURN + _COUNT_LAST),
    run("indirect tail call", exited(7), 1 + 2 + 1 + 1),
    run("tail call of the host", exited(0), 1 + 2 + 1_000),
    run("exit by a tail call", exited(12), 1 + 2 + 1_000),
    run("tail call of nothing", trapped("table_out_of_bounds"), 1 + 2),
    run("a tail call leaves its handlers", trapped("uncaught_exception"), 1 + 1 + 1 + 4 + _THROW_NUMBER),
    # a turn: get, 11 consts, call; add, set, and 7 for the loop
    run(
        "many tail calls that return",
        exited(330_000),
        1 + 30_000 * (13 + _WIDE + _COUNT_TURN + _COUNT_LAST + 2 + 7) + 1,
    ),
]


def document() -> Json:
    return {
        "comment": "Made by tests/vectors/generate_exceptions.py from docs/determinism.md.",
        "module_hex": MODULE.read_bytes().hex(),
        "output_bytes": 1,
        "runs": RUNS,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
