"""No name that a guest chose reaches an engine, which would read it by rules of its own: one task, one answer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from plasm_core.local_node import LocalNode
from plasm_core.records.manifest import Limits
from plasm_core.sandbox.metering.binary import Reader, sized, unsigned, vector
from plasm_core.sandbox.metering.injected import FAULT_GLOBAL, GAS_GLOBAL, PAGES_GLOBAL, START_EXPORT
from plasm_core.sandbox.metering.module import EXPORT, IMPORT
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.metering.sections import read_module
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES
from tests.agreement.vectors import Given, run
from tests.sandbox.modules import look_at, section

_LIMITS = Limits(gas=1_000_000, memory_bytes=1 << 24, output_bytes=1 << 16)
_GOOD, _EVIL = 0, 7
_WASI = "wasi_snapshot_preview1"


EXPORTS: dict[str, list[bytes]] = {
    "ends at a NUL": [b"_start\0x"],
    "ends at a NUL, many times": [b"_start\0%d" % number for number in range(6)],
    "a beginning": [b"_star", b"_", b""],
    "a continuation": [b"_start_", b"_start "],
    "another case": [b"_START", b"_Start"],
    "other code points": ["_\uff53tart".encode(), "_start\u200b".encode(), "\ufeff_start".encode()],
    "as long as wasm3 allows in characters, longer in bytes": ["é".encode() * 9_999],
    "longer than wasm3 allows": [b"a" * 10_001],
    "cut to the same": [b"_start" + b"a" * 20_000, b"_start" + b"a" * 20_001],
    "a memory's name": [b"memory\0", b"mem"],
    "a wildcard": [b"*", b"\0"],
}


def guest(names: list[bytes], *, custom: bytes = b"", start: bool = False) -> bytes:
    """Return a module whose `_start` exits with 0, and which exports a function that exits with 7 by other names."""

    def leaving(code: int) -> bytes:
        return sized(b"\0\x41" + unsigned(code) + b"\x10\0\x0b")

    exports = [sized(name) + b"\0" + unsigned(1) for name in names]
    exports += [sized(b"_start") + b"\0" + unsigned(2), sized(b"memory") + b"\2\0"]
    exports += [sized(name + b".g") + b"\3\0" for name in names[:1]]
    return (
        b"\0asm\1\0\0\0"
        + custom
        + section(1, vector([b"\x60\1\x7f\0", b"\x60\0\0"]))
        + section(2, vector([sized(_WASI.encode()) + sized(b"proc_exit") + b"\0\0"]))
        + section(3, vector([b"\1", b"\1", b"\1"]))
        + section(5, vector([b"\0\1"]))
        + section(6, vector([b"\x7f\1\x41\0\x0b"]))
        + section(7, vector(exports))
        + (section(8, b"\3") if start else b"")
        + custom
        + section(10, vector([leaving(_EVIL), leaving(_GOOD), sized(b"\0\x0b")]))
        + custom
    )


def custom_sections() -> bytes:
    """Return custom sections that tools read: the name section calls the function that exits with 7 `_start`."""
    names = sized(vector([unsigned(1) + sized(b"_start"), unsigned(2) + sized(b"other")]))
    parts = {
        b"name": b"\1" + names,
        b"producers": vector([]),
        b"target_features": vector([b"+" + sized(b"atomics")]),
        b"linking": b"\2",
        b"": b"",
    }
    return b"".join(section(0, sized(name) + content) for name, content in parts.items())


def names_of(code: bytes, number: int) -> list[bytes]:
    """Read the names in an import or export section, as bytes."""
    reader = Reader(code, *read_module(code).sections[number])
    found = []
    for _ in range(reader.count()):
        found.append(reader.bytes(reader.unsigned()))
        if number == IMPORT:
            found.append(reader.bytes(reader.unsigned()))
        reader.byte()
        reader.unsigned()
    return found


@pytest.mark.parametrize("names", EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_calls_the_function_that_the_module_exports_as_start(
    nodes: Mapping[str, LocalNode], engine: str, names: list[bytes]
) -> None:
    skip_if_missing(engine)
    code = guest(names, custom=custom_sections())
    if max(map(len, names)) > 10_000 and "large-module" not in nodes[engine].runtime(engine).features:
        pytest.skip("it refuses the module by name")

    ended = run(
        nodes[engine],
        engine,
        Given(limits=_LIMITS, given=code),
    )

    assert ended.outcome == {"kind": "exited", "code": _GOOD}
    assert ended.gas_used == 1 + 2 + 1_000


@pytest.mark.parametrize("names", EXPORTS.values(), ids=EXPORTS)
@pytest.mark.parametrize("start", [False, True])
def test_a_metered_module_exports_the_same_few_names_for_every_guest(names: list[bytes], start: bool) -> None:
    code = meter(guest(names, custom=custom_sections(), start=start)).code
    expected = [
        GAS_GLOBAL,
        PAGES_GLOBAL,
        FAULT_GLOBAL,
        *([START_EXPORT] if start else []),
        "_start",
        "memory",
    ]

    assert names_of(code, EXPORT) == [name.encode() for name in expected]
    assert code == meter(guest([], start=start)).code


def test_imports_are_written_from_the_table_of_host_functions() -> None:
    assert names_of(meter(guest([])).code, IMPORT) == [_WASI.encode(), b"proc_exit"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (_WASI, "proc_exit\0"),
        (_WASI, "proc_exit\0x"),
        (_WASI, "\0proc_exit"),
        (_WASI, "proc_exi"),
        (_WASI, "proc_exit "),
        (_WASI, "PROC_EXIT"),
        (_WASI, "proc_ex\u0131t"),
        (_WASI + "\0", "proc_exit"),
        (_WASI + "\0x", "proc_exit"),
        ("*", "proc_exit"),
        ("", "proc_exit"),
    ],
)
def test_an_import_is_what_its_bytes_say(source: str, name: str) -> None:
    written = sized(_WASI.encode()) + sized(b"proc_exit")
    code = guest([])
    old = section(2, vector([written + b"\0\0"]))
    assert code.count(old) == 1
    other = code.replace(old, section(2, vector([sized(source.encode()) + sized(name.encode()) + b"\0\0"])))

    preparation, metered = look_at(other)

    assert [problem.reason for problem in preparation.problems] == ["forbidden_import"]
    assert metered == b""


def test_a_name_is_as_long_as_its_bytes() -> None:
    """Engines that limit names count bytes."""
    assert "large-module" in meter(guest(["é".encode() * 5_001])).module.features
    assert "large-module" not in meter(guest(["é".encode() * 4_998])).module.features
