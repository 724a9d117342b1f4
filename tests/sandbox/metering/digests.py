"""Digests of what the rewriter makes of generated modules: `python -m tests.sandbox.metering.digests COUNT`.

The rewriter's code may become faster, its output may not change. Run it on two versions and compare: it writes a line
for each kind of module and each hundred, with the digest of the modules themselves first.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable, Iterator

from plasm_core.sandbox.metering.binary import signed, sized, unsigned, vector
from plasm_core.sandbox.metering.rewrite import meter
from tests.fuzz.dense import dense_module


def _padded(rng: random.Random, value: int) -> bytes:
    """Encode an unsigned LEB128 in as many bytes as linkers leave, or in the least."""
    encoded = unsigned(value)
    if rng.random() < 0.6 or len(encoded) == 5:
        return encoded
    more = rng.randrange(5 - len(encoded)) + 1
    return encoded[:-1] + bytes((encoded[-1] | 0x80,)) + b"\x80" * (more - 1) + b"\0"


def large_module(rng: random.Random) -> bytes:
    """Make a valid module of many functions, deep blocks, many locals and padded immediates. It is not to be run."""
    count = rng.choice((1, 40, 200))
    bodies = []
    for _ in range(count):
        depth = rng.choice((1, 4, 140, 300)) if count < 200 else rng.choice((1, 4, 9))
        locals_ = rng.choice((1, 130, 300))
        code = bytearray(b"".join(rng.choice((b"\x02\x40", b"\x03\x40")) for _ in range(depth)))
        for _ in range(rng.randrange(1, 30)):
            target, local = _padded(rng, rng.randrange(depth)), _padded(rng, rng.randrange(locals_))
            constant = b"\x41" + signed(rng.choice((0, 63, 64, 127, -1, -64, -65, 1 << 30)))
            code += rng.choice(
                (
                    b"\x10" + _padded(rng, rng.randrange(count)),
                    constant + b"\x0d" + target,
                    constant + b"\x04\x40\x0c" + target + b"\x05\x0f\x1a\x0b",
                    constant + b"\x04\x7f" + constant + b"\x05\x20" + local + b"\x0b\x21" + local,
                    constant + b"\x28\x02" + _padded(rng, rng.randrange(1 << 16)) + b"\x22" + local + b"\x1a",
                    b"\x02\x40\x00\x41\x01\x6a\x1a\x0b",
                    b"\x02\x40\x0c" + target + b"\x02\x40\x0b\x0b",
                    constant + b"\x0e" + vector([target, _padded(rng, 0)]) + target
                    if rng.random() < 0.1
                    else b"\x01",
                    b"\x42\x80\x7f\x1a\x44" + rng.randbytes(8) + b"\x1a\x43" + rng.randbytes(4) + b"\x1a",
                )
            )
        bodies.append(sized(vector([unsigned(locals_) + b"\x7f"]) + bytes(code) + b"\x0b" * (depth + 1)))
    parts = (
        (1, vector([b"\x60\0\0"])),
        (3, vector([b"\0"] * count)),
        (5, vector([b"\0\1"])),
        (7, vector([sized(b"memory") + b"\2\0", sized(b"_start") + b"\0\0"])),
        (10, vector(bodies)),
    )
    return b"\0asm\1\0\0\0" + b"".join(bytes((number,)) + sized(content) for number, content in parts)


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "plain": dense_module,
    "floats": lambda rng: dense_module(rng, floats=True),
    "lowered": lambda rng: dense_module(rng, lowered=True),
    "large": large_module,
}
WAYS: tuple[dict[str, bool], ...] = (
    {},
    {"canonical_nans": True},
    {"canonical_nans": True, "trap_checks": True},
)
BATCH = 100


def digests(kind: str) -> Iterator[tuple[str, str]]:
    """Yield, for each hundred modules of a kind, the digests of all so far and of what they are metered to."""
    rng = random.Random(f"digests of {kind}")
    given, made = hashlib.sha256(), hashlib.sha256()
    while True:
        for _ in range(BATCH):
            module = KINDS[kind](rng)
            given.update(module)
            for way in WAYS:
                made.update(meter(module, **way).code)
        yield given.hexdigest(), made.hexdigest()


def main() -> None:
    """Print the digests of so many modules of each kind, or of those kinds that are named."""
    count = int(sys.argv[1])
    for kind in sys.argv[2:] or KINDS:
        for number, (given, made) in zip(range(BATCH, count + 1, BATCH), digests(kind), strict=False):
            sys.stdout.write(f"{kind} {number} {given} {made}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
