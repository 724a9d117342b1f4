"""Give the real command modules that cannot run: each is refused with a reason that helps, and no receipt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import FAILURE, HELLO, JOB_FAILED, OK, Done, Plasm, without_phases
from tests.support.wat import EMPTY_START, MEMORY, module, starting

RETURNING = starting("(drop (i32.const 0))")
INVALID = RETURNING.replace(b"\x41\x00\x1a", b"\x41\x00\x45")  # i32.eqz for drop: a value too many
IMPORT = '(import "{}" "{}" (func {}))'
SHARED = b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x01"

BAD = {
    "empty": (b"", "the module is empty"),
    "text": (b"hello\n", "not a WebAssembly module: it does not begin with \\0asm"),
    "wat": (b"(module)", "not a WebAssembly module: it does not begin with \\0asm"),
    "elf": (b"\x7fELF" + bytes(100), "not a WebAssembly module: it does not begin with \\0asm"),
    "header": (b"\0asm\x01", "the module is cut short"),
    "version": (b"\0asm\x02\0\0\0", "not version 1 of the WebAssembly binary format"),
    "component": (b"\0asm\x0d\0\x01\0", "a WebAssembly component, not a core module"),
    "truncated": (Path(HELLO).read_bytes()[:1000], "the module is not valid: "),
    "trailing": (Path(HELLO).read_bytes() + b"\x01", "the module is not valid: "),
    "body": (INVALID, "the module is not valid: "),
    "threads": (SHARED, "the module uses threads"),
    "import": (
        module(IMPORT.format("env", "host", ""), MEMORY, EMPTY_START),
        "the module imports env.host, which is not there",
    ),
    "function": (
        module(IMPORT.format("wasi_snapshot_preview1", "sock_dial", ""), MEMORY, EMPTY_START),
        "the module imports wasi_snapshot_preview1.sock_dial, which is not there",
    ),
    "preview0": (
        module(IMPORT.format("wasi_unstable", "fd_write", ""), MEMORY, EMPTY_START),
        "the module imports wasi_unstable.fd_write, which is not there",
    ),
    "type": (
        module(IMPORT.format("wasi_snapshot_preview1", "fd_write", "(param i64)"), MEMORY, EMPTY_START),
        "the module imports wasi_snapshot_preview1.fd_write with the type (i64) → ()",
    ),
    "global": (
        module('(import "env" "g" (global i32))', MEMORY, EMPTY_START),
        "the module imports the global env.g",
    ),
    "no_start": (module(MEMORY), "the module exports no function _start"),
    "start_type": (
        module(MEMORY, '(func (export "_start") (param i32))'),
        "_start has the type (i32) → (), not () → ()",
    ),
    "no_memory": (module(EMPTY_START), "the module exports no memory of its own as memory"),
    "imported_memory": (
        module('(import "env" "memory" (memory 1))', '(export "memory" (memory 0))', EMPTY_START),
        "the module imports the memory env.memory",
    ),
    "reserved": (
        module(MEMORY, EMPTY_START, '(global (export "plasm:gas") i64 (i64.const 0))'),
        "the module exports plasm:gas, a name that is reserved",
    ),
    "data": (
        module(MEMORY, EMPTY_START, '(data (i32.const 65535) "ab")'),
        "data segment 0 does not lie inside the memory",
    ),
    "element": (
        module(MEMORY, "(func $f)", EMPTY_START, "(table 1 funcref)", "(elem (i32.const 1) $f)"),
        "element segment 0 does not lie inside its table",
    ),
}


HINTS = {
    "elf": "build it for wasm32-wasip1",
    "wat": "convert it with wat2wasm",
    "component": "build it as a core module for wasm32-wasip1",
    "preview0": "build it with a newer toolchain",
    "no_start": "build a command, not a library or reactor",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_module_is_refused_with_its_reason(
    here: Callable[..., Done], tmp_path: Path, name: str
) -> None:
    code, message = BAD[name]
    file = tmp_path / "bad.wasm"
    file.write_bytes(code)
    done = here("run", str(file), "--stdin", "/dev/null", "--receipt", str(tmp_path / "r.json"))

    assert (done.code, done.out) == (FAILURE, b"")
    assert without_phases(done.err).startswith(f"error: {message}")
    assert HINTS.get(name, "") in done.err.partition("\nhint: ")[2]
    assert not (tmp_path / "r.json").exists()


def test_the_real_command_refuses_no_otherwise(plasm: Plasm, tmp_path: Path) -> None:
    (tmp_path / "bad.wasm").write_bytes(BAD["preview0"][0])
    done = plasm("run", str(tmp_path / "bad.wasm"))

    assert (done.code, done.out) == (FAILURE, b"")
    assert without_phases(done.err).splitlines() == [
        f"error: {BAD['preview0'][1]}",
        "hint: it was built for WASI preview 0: build it with a newer toolchain",
    ]


def test_inspect_names_every_problem_at_once(here: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "bad.wasm"
    file.write_bytes(
        module(IMPORT.format("env", "host", ""), '(global (export "plasm:x") i32 (i32.const 0))')
    )
    done = here("inspect", str(file), "--json")
    found = json.loads(done.out)

    assert done.code == FAILURE
    reasons = {problem["reason"] for problem in found["problems"]}
    assert reasons == {"forbidden_import", "reserved_name", "no_start", "no_memory"}
    shown = here("inspect", str(file)).out.decode()
    assert len([line for line in shown.splitlines() if line.startswith("✗")]) == 4


def test_inspect_gives_each_hint_once(here: Callable[..., Done], tmp_path: Path) -> None:
    """A module for a browser has dozens of imports, and one flag removes them all."""
    file = tmp_path / "bad.wasm"
    imports = [IMPORT.format("gojs", name, "") for name in ("a", "b", "c")]
    file.write_bytes(module(*imports, MEMORY, '(func (export "resume"))'))
    shown = here("inspect", str(file)).out.decode().splitlines()

    assert len([line for line in shown if line.startswith("✗")]) == 4
    hints = [line for line in shown if line.startswith("!")]
    assert [line.partition(": ")[0] for line in hints] == [
        "! it was built for a browser",
        "! build a command, not a library or reactor",
    ]


def test_inspect_warns_of_a_module_that_can_neither_read_nor_print(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    """Rust built for wasm32-unknown-unknown runs, and its println prints nothing."""
    file = tmp_path / "mute.wasm"
    file.write_bytes(module(MEMORY, EMPTY_START))

    done = here("inspect", str(file))
    assert done.code == OK
    assert "! it imports nothing, so it can neither read its input nor print: " in done.out.decode()
    assert "it imports nothing" not in here("inspect", HELLO).out.decode()


@pytest.mark.parametrize("name", ["main.c", "main.rs", "main.go"])
def test_source_code_is_to_be_compiled_first(here: Callable[..., Done], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("int main(void) { return 0; }\n")
    done = here("run", str(tmp_path / name))

    assert done.code == FAILURE
    assert "hint: compile it for wasm32-wasi and run the module" in done.err
    assert "interpreters" not in done.err


def test_inspect_shows_files_that_are_no_module(here: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "bad.wasm"
    file.write_bytes(INVALID)
    done = here("inspect", str(file), "--json")

    assert done.code == FAILURE
    assert json.loads(done.out)["module"] is None


def test_a_module_that_starts_with_too_much_memory_is_refused(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    file = tmp_path / "big.wasm"
    file.write_bytes(module('(memory (export "memory") 100)', EMPTY_START))
    run = ("run", str(file), "--stdin", "/dev/null")

    assert here(*run).code == OK
    done = here(*run, "--limit", "memory=64KiB")
    assert done.code == FAILURE
    assert done.err.splitlines() == [
        "error: the module starts with 6400KiB of memory, more than the limit of 64KiB",
        "hint: --limit memory=6400KiB is the least that it runs with",
    ]


def test_a_module_that_is_too_large_is_refused(here: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "module.wasm"
    file.write_bytes(RETURNING)
    done = here("run", str(file), "--set", f"admission.module_bytes={len(RETURNING) - 1}")

    assert done.code == FAILURE
    assert done.err.startswith(f"error: module {file} has more than {len(RETURNING) - 1} bytes")
    assert f"raise it with --set admission.module_bytes={2 * len(RETURNING) - 2}" in done.err


def test_a_name_cannot_forge_a_line_of_the_report(here: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "hostile.wasm"
    name = "x\\n✓ wasmtime: can run it"
    file.write_bytes(module(MEMORY, EMPTY_START, f'(global (export "plasm:{name}") i32 (i32.const 0))'))
    shown = here("inspect", str(file)).out.decode()

    assert not [line for line in shown.splitlines() if line.startswith("✓")]


def test_a_module_may_be_read_from_a_pipe(plasm: Plasm) -> None:
    done = plasm("run", "-", stdin=starting("unreachable"))

    assert done.code == JOB_FAILED
