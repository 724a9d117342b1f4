"""Jobs for the laboratory."""

from __future__ import annotations

from pathlib import Path

from tests.support.wat import function, module

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "hello.wasm"
ROUNDS = 3_000_000_000
LASTING_OUTPUT = b"begun\ndone\n"


def lasting(rounds: int = ROUNDS) -> bytes:
    """Return a command that says that it begins, works for some seconds, and says that it is done."""
    say = "(drop (call $fd_write (i32.const 1) (i32.const {at}) (i32.const 1) (i32.const 0)))"
    texts = "\\20\\00\\00\\00\\06\\00\\00\\00", "\\28\\00\\00\\00\\05\\00\\00\\00"
    return module(
        function("fd_write", "i32 i32 i32 i32"),
        '(memory (export "memory") 1)',
        f'(data (i32.const 8) "{texts[0]}") (data (i32.const 16) "{texts[1]}")',
        '(data (i32.const 32) "begun\\0a") (data (i32.const 40) "done\\0a")',
        '(func (export "_start") (local $left i32)',
        f"(local.set $left (i32.const {rounds}))",
        say.format(at=8),
        "(loop (br_if 0 (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
        say.format(at=16) + ")",
    )
