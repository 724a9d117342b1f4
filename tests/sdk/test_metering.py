"""The rewriter of the TypeScript package refuses what it cannot read."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from plasm_core.sandbox.metering.binary import sized, vector
from tests.sandbox.modules import command
from tests.sdk.conftest import PACKAGE


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
