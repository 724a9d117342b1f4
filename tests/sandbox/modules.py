"""Modules for tests of what is refused, and the ways to put them to the question in this process."""

from __future__ import annotations

from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Validator
from plasm_core.sandbox.admission.preparation import Preparation, Problem
from plasm_core.sandbox.admission.prepare import prepare
from plasm_core.sandbox.metering.binary import sized, unsigned, vector
from plasm_core.sandbox.process import entry as component_entry
from plasm_core.sandbox.program import ModuleInfo

TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA = range(1, 12)

MEMORY_AND_START = '(memory (export "memory") 1) (func (export "_start"))'


def wat(text: str) -> bytes:
    """Compile WebAssembly text. `…` stands for a memory and a `_start` that does nothing."""
    import wasmtime

    return bytes(wasmtime.wat2wasm(text.replace("…", MEMORY_AND_START)))


def section(number: int, content: bytes) -> bytes:
    """Encode a section."""
    return bytes([number]) + sized(content)


def command(
    body: bytes, *, types: tuple[bytes, ...] = (), exports: tuple[bytes, ...] = (), functions: int = 1
) -> bytes:
    """Encode a module with a memory, an i32 global and a `_start` of this code.

    `types` are encoded function types; the first is 1. `exports` are encoded too. `functions`: how many functions have
    this code; the first is `_start`.
    """
    return (
        b"\0asm\1\0\0\0"
        + section(TYPE, vector([b"\x60\0\0", *types]))
        + section(FUNCTION, vector([b"\0"] * functions))
        + section(MEMORY, vector([b"\0\1"]))
        + section(GLOBAL, vector([b"\x7f\x01\x41\x00\x0b"]))
        + section(EXPORT, vector([sized(b"_start") + b"\0\0", sized(b"memory") + b"\2\0", *exports]))
        + section(CODE, vector([sized(b"\0" + body + b"\x0b")] * functions))
    )


def processor_bomb(values: int = 1_000, branches: int = 1_000, *, functions: int = 1) -> bytes:
    """Encode a small module that takes a compiler very long.

    Each branch back to the loop passes all its values on, every one in another place than before.
    """
    rotating = b"\x23\0\x23\0\x0d\0"  # push a value, push a condition, br_if
    code = b"\x23\0" * values + b"\x03\x01" + rotating * branches + b"\x1a" * (values + branches) + b"\x0b"
    return command(code, types=(b"\x60" + vector([b"\x7f"] * values) + b"\0",), functions=functions)


def memory_bomb(values: int = 1_000, blocks: int = 30_000) -> bytes:
    """Encode a small module whose compiler wants gigabytes: each block, of three bytes, gives many values."""
    types = 2 * vector([b"\x7f"] * values)
    code = b"\x23\0" * values + b"\x02\x01\x0b" * blocks + b"\x1a" * values
    return command(code, types=(b"\x60" + types,))


def late_bomb(functions: int = 8_000, variables: int = 49_000) -> bytes:
    """Encode a small module for engines that compile a function at its first call.

    `_start` calls each function once, and each has many variables to clear.
    """
    calls = b"".join(b"\x10" + unsigned(number + 1) for number in range(functions))
    long = sized(b"\x01" + unsigned(variables) + b"\x7e\x0b")
    return (
        b"\0asm\1\0\0\0"
        + section(TYPE, vector([b"\x60\0\0"]))
        + section(FUNCTION, vector([b"\0"] * (functions + 1)))
        + section(MEMORY, vector([b"\0\1"]))
        + section(EXPORT, vector([sized(b"_start") + b"\0\0", sized(b"memory") + b"\2\0"]))
        + section(CODE, vector([sized(b"\0" + calls + b"\x0b"), *[long] * functions]))
    )


def with_names(count: int, length: int) -> bytes:
    """Encode a module that exports `_start` under many long names."""
    names = (b"%0*d" % (length, number) for number in range(count))
    return command(b"", exports=tuple(unsigned(length) + name + b"\0\0" for name in names))


def look_at(data: bytes, *, entry: str | None = None) -> tuple[Preparation, bytes]:
    """Prepare a module as the child process does, with the validator of the base install."""
    component = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
    validator = component_entry.make(component.entry, component.options())
    return prepare(data, validator.validate, entry=entry)


def problems(data: bytes) -> list[Problem]:
    """Return what is wrong with a module. If anything is, there is no code that could be run."""
    preparation, code = look_at(data)
    assert bool(code) == (not preparation.problems)
    return preparation.problems


def reasons(data: bytes) -> list[str]:
    """Return the stable codes of what is wrong with a module."""
    return [problem.reason for problem in problems(data)]


def described(data: bytes) -> ModuleInfo:
    """Return the description of a module that nothing is wrong with."""
    return look_at(data)[0].checked()
