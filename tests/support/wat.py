"""Tiny modules, in WebAssembly text."""

import wasmtime

MEMORY = '(memory (export "memory") 1)'
EMPTY_START = '(func (export "_start"))'


def module(*fields: str) -> bytes:
    """Assemble a module's fields."""
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(fields)})"))


def starting(body: str, *fields: str) -> bytes:
    """Return a command whose `_start` has this body."""
    return module(*fields, MEMORY, f'(func (export "_start") {body})')


def function(name: str, params: str) -> str:
    """Return the import of a WASI function with a result, named `$name`."""
    return f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))'


def writing(data: bytes, *, stream: int = 1, then: str = "", times: int = 1) -> bytes:
    """Return a command that writes some bytes in one call, `times` over, and goes on as told."""
    text = "".join(f"\\{byte:02x}" for byte in (64).to_bytes(4, "little") + len(data).to_bytes(4, "little"))
    text += "\\00" * 56 + "".join(f"\\{byte:02x}" for byte in data)
    call = f"(drop (call $fd_write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))"
    return module(
        function("fd_write", "i32 i32 i32 i32"),
        f'(memory (export "memory") {1 + len(text) // 3 // 65536})',
        f'(data (i32.const 0) "{text}")',
        f'(func (export "_start") {call * times} {then})',
    )


EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))'
FOREVER = "(loop (br 0))"


def exiting(code: int) -> bytes:
    """Return a command that exits with a code."""
    return starting(f"(call $proc_exit (i32.const {code}))", EXIT)


def padded(binary: bytes, size_bytes: int) -> bytes:
    """Return a module with a custom section of a size behind it."""
    body = b"\x07padding" + bytes(size_bytes)
    return binary + b"\0" + _leb128(len(body)) + body


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
