"""Hold `native/body.wasm` against Python's rewriter: `python tests/fuzz/fuzz_native.py --inputs 50000 --seed 1`.

Modules are those of `tests.fuzz.dense`, of all kinds in turn. Each is metered by both, with and without canonical NaNs
and checks of traps. To be found: code, features or growth that differ. The exit code is 1 if anything is found.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from plasm_core.plugins import loading  # noqa: E402
from plasm_core.plugins.engine import Instance  # noqa: E402
from plasm_core.plugins.interfaces import Validator  # noqa: E402
from plasm_core.sandbox.metering.native_body import NativeBodies, native_code  # noqa: E402
from plasm_core.sandbox.metering.rewrite import meter_module  # noqa: E402
from plasm_core.sandbox.metering.sections import read_module  # noqa: E402
from plasm_core.sandbox.process.entry import make  # noqa: E402
from tests.fuzz.dense import STEPS, dense_module  # noqa: E402

KINDS: tuple[dict[str, bool], ...] = ({}, {"floats": True}, {"lowered": True}, {"raising": True})
WAYS: tuple[dict[str, bool], ...] = (
    {},
    {"canonical_nans": True},
    {"trap_checks": True},
    {"canonical_nans": True, "trap_checks": True},
)


def is_alike(native: Instance, data: bytes, way: dict[str, bool]) -> bool:
    """Return whether both make the same of a module."""
    one, other = read_module(data), read_module(data)
    code = meter_module(one, **way)  # type: ignore[arg-type]
    if code != meter_module(other, **way, native=native):  # type: ignore[arg-type]
        return False
    return (one.features, one.memory_grows) == (other.features, other.memory_grows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="of a function, at most")
    options = parser.parse_args()
    validator = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
    native = make(validator.entry, validator.options()).instantiate(native_code())
    taken: list[int] = []
    rewrite = NativeBodies.rewrite

    def noted(self: NativeBodies, first: int) -> tuple[int, bytes]:
        count, code = rewrite(self, first)
        taken.append(count)
        return count, code

    NativeBodies.rewrite = noted  # type: ignore[method-assign]
    rng, started, found = random.Random(options.seed), time.monotonic(), 0
    for number in range(options.inputs):
        data = dense_module(rng, steps=options.steps, **KINDS[number % len(KINDS)])
        found += not is_alike(native, data, WAYS[number // len(KINDS) % len(WAYS)])
    sys.stdout.write(
        f"native inputs {options.inputs}, seed {options.seed}, steps {options.steps}, {time.monotonic() - started:.0f} s\n"
        f"functions {sum(taken)} taken, {taken.count(0)} left to Python\nfindings {found or 'none'}\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
