"""Measure how reading and rewriting a module grows with its size: `python benchmarks/module_passes.py --mib 1 2 4 8`.

For each kind of section, and for the code, a module is made of nothing but that section's worst case, at each size.
Told are the seconds of processor time and the peak memory that preparing it takes, with the ratio from one size to
the next: each size is twice the one before, so that a pass in proportion to the size gives 2. The exit code is 1 if a
ratio is above the bound where the time can be told at all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import sys
from collections.abc import Callable

from plasm_core.sandbox.admission.prepare import prepare
from plasm_core.sandbox.metering.binary import sized, unsigned, vector

BOUND = 2.3
_LEAST_S = 0.2
_MIB = 1 << 20
_TYPES = (b"\x60\0\0", b"\x60\0\1\x7f")


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + sized(content)


def _module(
    *,
    types: tuple[bytes, ...] = (),
    imports: int = 0,
    functions: int = 0,
    table: bytes = b"",
    globals_: bytes = b"",
    exports: tuple[bytes, ...] = (),
    elements: bytes = b"",
    body: bytes = b"",
    bodies: tuple[bytes, ...] = (),
    data: bytes = b"",
    custom: bytes = b"",
) -> bytes:
    """Return a module with a memory and a `_start`, and what is given."""
    imported = sized(b"wasi_snapshot_preview1") + sized(b"sched_yield") + b"\0\1"
    names = [sized(b"memory") + b"\2\0", sized(b"_start") + b"\0" + unsigned(imports), *exports]
    parts = (
        (1, vector([*_TYPES, *types])),
        (2, vector([imported] * imports) if imports else b""),
        (3, vector([b"\0"] * (1 + functions))),
        (4, table),
        (5, b"\1\0\1"),
        (6, globals_),
        (7, vector(names)),
        (9, elements),
        (10, vector([sized(body or b"\0\x0b"), *bodies])),
        (11, data),
    )
    return b"\0asm\1\0\0\0" + custom + b"".join(_section(number, part) for number, part in parts if part)


def _calls(size: int) -> bytes:
    return _module(imports=6_000, body=b"\0" + b"\x10\0\x1a" * min(size // 3, 2_000_000) + b"\x0b")


def _extended(size: int) -> bytes:
    """Return one constant expression that multiplies as often as it can."""
    once = b"\x42\xff\xff\xff\xff\xff\xff\xff\xff\x3f\x7e"
    return _module(globals_=b"\1\x7e\0\x42\1" + once * (size // len(once)) + b"\x0b")


def _chosen(count: int, item: Callable[[int], bytes]) -> list[bytes]:
    return [item(number) for number in range(count)]


CASES: dict[str, Callable[[int], bytes]] = {
    "types": lambda size: _module(
        types=tuple(_chosen(size // 12, lambda n: b"\x60\5" + b"\x7e" * 5 + b"\0"))
    ),
    "imports": lambda size: _module(imports=size // 37),
    "functions": lambda size: _module(functions=size // 4, bodies=(sized(b"\0\x0b"),) * (size // 4)),
    "locals": lambda size: _module(
        functions=size // 1_600,
        bodies=(sized(vector([b"\1\x7f"] * 799) + b"\x0b"),) * (size // 1_600),
    ),
    "locals of a run": lambda size: _module(
        functions=size // 8,
        bodies=(sized(vector([unsigned(50_000) + b"\x7e"]) + b"\x0b"),) * (size // 8),
    ),
    "globals": lambda size: _module(globals_=vector([b"\x7f\1\x41\0\x0b"] * (size // 5))),
    "exports": lambda size: _module(
        exports=tuple(_chosen(size // 12, lambda n: sized(b"%08x" % n) + b"\0\0"))
    ),
    "elements": lambda size: _module(
        table=b"\1\x70\0" + unsigned(900_000),
        elements=vector([b"\0\x41\0\x0b" + vector([b"\0"] * 800)] * (size // 806)),
    ),
    "data": lambda size: _module(data=vector([b"\0\x41\0\x0b" + sized(b"x" * 95)] * (size // 100))),
    "constant expression": _extended,
    "custom sections": lambda size: _module(custom=_section(0, sized(b"x")) * (size // 4)),
    "calls of imports": _calls,
    "nested blocks": lambda size: _module(
        body=b"\0" + b"\x02\x40" * min(size // 3, 2_000_000) + b"\x0b" * (min(size // 3, 2_000_000) + 1)
    ),
    "reads of locals": lambda size: _module(
        functions=size // 100_000,
        bodies=(sized(b"\1\1\x7e" + b"\x20\0\x20\0\x7c\x21\0" * 14_000 + b"\x0b"),) * (size // 100_000),
    ),
    "br_table": lambda size: _module(
        functions=size // 100_000,
        bodies=(sized(b"\0\x41\0\x0e" + vector([b"\0"] * 99_000) + b"\0\x0b"),) * (size // 100_000),
    ),
    "dead code": lambda size: _module(
        functions=size // 100_000,
        bodies=(sized(b"\0" + b"\x02\x40\x0f\x01\x01\x0b" * 16_000 + b"\x0b"),) * (size // 100_000),
    ),
}
"""Makes a module of about so many bytes, by what fills it. Validators allow no more of some things."""


def _valid(_module: bytes) -> None:
    """Stand for the validator, which is not ours and is measured by its own project."""


def measure(module: bytes) -> tuple[float, float, str]:
    """Prepare a module in a process of its own. Return seconds of processor time, peak MiB, and what came of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        preparation, _ = prepare(module, _valid)
        reason = preparation.problems[0].reason if preparation.problems else "prepared"
        os.write(writing, json.dumps(reason).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        answer = file.read()
    _, status, usage = os.wait4(pid, 0)
    reason = json.loads(answer) if answer else f"died with {os.waitstatus_to_exitcode(status)}"
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, reason


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=float, nargs="+", default=[1, 2, 4, 8], metavar="N")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="NAME")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worst = 0.0
    heads = " ".join(f"{f'{mib:g} MiB':>18}" for mib in options.mib)
    sys.stdout.write(f"{'s, peak MiB':20} {heads}   ratios\n")
    for name in options.cases:
        rows = [measure(CASES[name](int(mib * _MIB))) for mib in options.mib]
        ratios = [
            after[0] / before[0]
            for before, after in itertools.pairwise(rows)
            if before[0] >= _LEAST_S and after[2] == before[2]
        ]
        worst = max([worst, *ratios])
        cells = " ".join(f"{seconds:9.2f} {peak:8.0f}" for seconds, peak, _ in rows)
        told = " ".join(f"{ratio:.2f}" for ratio in ratios)
        sys.stdout.write(f"{name:20} {cells}   {told} {'' if rows[-1][2] == 'prepared' else rows[-1][2]}\n")
        sys.stdout.flush()
    sys.stdout.write(f"largest ratio {worst:.2f}, bound {BOUND}\n")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
