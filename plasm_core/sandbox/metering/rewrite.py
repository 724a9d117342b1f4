"""The rewriter: puts a gas counter, a stack limit and a memory limit into a module's own code.

Gas, stack units and limits are those of docs/determinism.md. Because the module counts them, they are equal on every
engine, also on engines that cannot meter.

The module must have been validated *before*: validated only afterwards, a guest could name the injected
globals by their index and refill its own gas. What is injected:

- globals `plasm:gas` (i64), `plasm:pages`, `plasm:fault` (i32), exported, and the stack's height, not exported. They
  start at 0, so that a host that forgets to set them gets a run without gas instead of one without limit.
- functions that charge an operand and that grow the memory or a table.
- the start function is taken away and exported as `plasm:start`: instantiating runs no guest code.

Every name in the result is the rewriter's own. An engine interprets names by rules of its own (some end them at a NUL
byte, some cut them), so no name of the guest reaches the engine: the exports are the two that a module must have and
those above, the imports are written from the table of host functions, and custom sections are left out.

Every function's body is wrapped in a block, so that `return` becomes a branch to the block's end, where the stack's
height is lowered again. Code that cannot be reached is left out, and LEB128 immediates are written minimally, which
wasm3 needs.
"""

from __future__ import annotations

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.plugins.engine import WASI_MODULE, Instance
from plasm_core.sandbox.metering import module as wasm
from plasm_core.sandbox.metering.binary import Reader, malformed, signed, sized, unsigned, vector
from plasm_core.sandbox.metering.function_body import Body
from plasm_core.sandbox.metering.injected import (
    EXIT_GLOBAL,
    FAULT_CONVERSION,
    FAULT_EXCEPTION,
    FAULT_GLOBAL,
    FAULT_GROWTH,
    FAULT_NULL_CALL,
    GAS_GLOBAL,
    INITIALIZE_FUNCTION,
    MEMORY_EXPORT,
    PAGES_GLOBAL,
    START_EXPORT,
    START_FUNCTION,
)
from plasm_core.sandbox.metering.native_body import NativeBodies
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.program import MAX_PAGES
from plasm_core.sandbox.wasi.abi import FUNCTIONS

TABLE_ELEMENTS = 1_000_000
MAX_FUNCTION_BYTES = 7_654_321
"""What engines accept (WebAssembly JavaScript interface, implementation limits)."""

_I32, _I64, _F32 = 0x7F, 0x7E, 0x7D
_EMPTY = b"\x40"
_FUNCTION, _MEMORY, _GLOBAL = b"\x00", b"\x02", b"\x03"
_HOST_FUNCTIONS = {name: sized(WASI_MODULE.encode()) + sized(name.encode()) + _FUNCTION for name in FUNCTIONS}
"""The beginning of each function's import: all but its type."""
_TRAP_BELOW_ZERO = b"\x42\x00\x53\x04\x40\x00\x0b"  # i64.const 0; i64.lt_s; if; unreachable; end


@attrs.frozen
class Metered:
    """A metered module: its code, and the parsed original."""

    code: bytes
    module: wasm.Module


def meter(data: bytes, *, canonical_nans: bool = False, trap_checks: bool = False) -> Metered:
    """Read and rewrite a validated module. Raises: `BadModuleError`."""
    module = read_module(data)
    code = meter_module(module, canonical_nans=canonical_nans, trap_checks=trap_checks)
    return Metered(code, module)


def meter_module(
    module: wasm.Module,
    *,
    canonical_nans: bool = False,
    trap_checks: bool = False,
    entry: str | None = None,
    native: Instance | None = None,
) -> bytes:
    """Return the metered code of a validated module, and record the features that its code uses.

    `canonical_nans`: insert code that makes NaNs canonical, for an engine that does not. `trap_checks`: insert code
    before indirect calls and conversions to integers that tells the kinds of trap apart (null element, NaN), for an
    engine that does not. `entry`: the export to call in place of `_start`. `native`: an instance of `native_code`, to
    be faster; the code is the same.

    Raises: `BadModuleError`.
    """
    try:
        return _Rewriter(
            module, canonical_nans=canonical_nans, trap_checks=trap_checks, entry=entry, native=native
        ).rewrite()
    except IndexError:
        raise malformed("the code ends too early") from None


class _Rewriter:
    def __init__(
        self,
        module: wasm.Module,
        *,
        canonical_nans: bool,
        trap_checks: bool,
        entry: str | None,
        native: Instance | None = None,
    ) -> None:
        self.module = module
        self.native = native
        self.entry = entry
        self.trap_checks = trap_checks
        self.canonical_nans = canonical_nans
        self.types = [b"\x60" + sized(item.params) + sized(item.results) for item in module.types]
        first_global = module.global_count
        self.exit = unsigned(first_global + 4)  # this global exists only if there is an entry
        self.gas, self.stack, self.pages, self.fault = (
            unsigned(first_global + number) for number in range(4)
        )
        self.first_injected = len(module.imported_functions) + len(module.functions)
        self.injected_types: list[int] = []
        self.injected_bodies: list[bytes] = []
        self.block_types: dict[bytes, bytes] = {}
        self.arities = [(len(item.params), len(item.results)) for item in module.types]
        self.function_arities = [
            self.arities[index] for index in module.imported_functions + module.functions
        ]
        self.charge = self._inject(b"\x7f", b"\x7f", self._charge_body())
        self.grow = self._inject(b"\x7f", b"\x7f", self._grow_body())
        self.table_growers: dict[int, bytes] = {}
        self.null_checkers: dict[int, bytes] = {}
        self.nan_checkers: dict[int, bytes] = {}

    # -- what is injected

    def _type_index(self, params: bytes, results: bytes) -> int:
        self.types.append(b"\x60" + sized(params) + sized(results))
        return len(self.types) - 1

    def _inject(self, params: bytes, results: bytes, body: bytes) -> bytes:
        """Add a function, return its encoded index."""
        self.injected_types.append(self._type_index(params, results))
        self.injected_bodies.append(sized(body + b"\x0b"))
        return unsigned(self.first_injected + len(self.injected_bodies) - 1)

    def check_gas(self) -> bytes:
        return b"\x23" + self.gas + _TRAP_BELOW_ZERO

    def check_local(self, local: bytes) -> bytes:
        return b"\x20" + local + _TRAP_BELOW_ZERO

    def raise_fault(self, number: int) -> bytes:
        return b"\x41" + signed(number) + b"\x24" + self.fault + b"\x00"

    def _charge_body(self) -> bytes:
        """(n) → n: gas -= n, and trap if it is below zero."""
        lower = b"\x23" + self.gas + b"\x20\x00\xad\x7d\x24" + self.gas
        return b"\x00" + lower + self.check_gas() + b"\x20\x00"

    def _grow_body(self) -> bytes:
        """(n) → memory.grow(n), within the limit; a growth the host refuses below it is a fault."""
        memories = self.module.memories
        if not memories:
            return b"\x00\x20\x00"
        maximum = memories[0].maximum
        limit = b"\x41" + signed(_as_i32(MAX_PAGES if maximum is None else maximum))
        # local 1: min(plasm:pages, the module's own maximum), unsigned
        least = b"\x23" + self.pages + limit + b"\x23" + self.pages + limit + b"\x49\x1b\x21\x01"
        return (
            b"\x01\x01\x7f"
            + (b"\x20\x00\x10" + self.charge + b"\x1a")
            + least
            # n > limit - size: refuse
            + (b"\x20\x00\x20\x01\x3f\x00\x6b\x4b\x04\x40\x41\x7f\x0f\x0b")
            + (b"\x20\x00\x40\x00\x22\x01\x41\x7f\x46\x04\x40" + self.raise_fault(FAULT_GROWTH) + b"\x0b")
            + b"\x20\x01"
        )

    def table_grow(self, table: int) -> bytes:
        """Return the encoded index of a function (value, n) → table.grow, made when first needed."""
        if table not in self.table_growers:
            if table >= len(self.module.tables):
                raise malformed("a table index is out of range")
            index = unsigned(table)
            maximum = self._table_maximum(table)
            body = (
                b"\x01\x01\x7f"
                + (b"\x20\x01\x10" + self.charge + b"\x1a")
                + (b"\x20\x01\x41" + signed(maximum) + b"\xfc\x10" + index)
                + b"\x6b\x4b\x04\x40\x41\x7f\x0f\x0b"
                + (b"\x20\x00\x20\x01\xfc\x0f" + index + b"\x22\x02\x41\x7f\x46\x04\x40")
                + (self.raise_fault(FAULT_GROWTH) + b"\x0b\x20\x02")
            )
            element = bytes((self.module.tables[table].element,))
            self.table_growers[table] = self._inject(element + b"\x7f", b"\x7f", body)
        return self.table_growers[table]

    def null_check(self, table: int) -> bytes:
        """Return the encoded index of a function (i) → i that faults if the table's element i is null.

        It is made when first needed. An index outside the table traps as the call would.
        """
        if table not in self.null_checkers:
            body = (
                (b"\x00\x20\x00\x25" + unsigned(table) + b"\xd1\x04\x40")  # table.get, ref.is_null, if
                + (self.raise_fault(FAULT_NULL_CALL) + b"\x0b\x20\x00")
            )
            self.null_checkers[table] = self._inject(b"\x7f", b"\x7f", body)
        return self.null_checkers[table]

    def nan_check(self, value_type: int) -> bytes:
        """Return the encoded index of a function (x) → x that faults if a float is a NaN, made when first needed."""
        if value_type not in self.nan_checkers:
            unequal = b"\x5c" if value_type == _F32 else b"\x62"
            body = (b"\x00\x20\x00\x20\x00" + unequal + b"\x04\x40") + (
                self.raise_fault(FAULT_CONVERSION) + b"\x0b\x20\x00"
            )
            self.nan_checkers[value_type] = self._inject(bytes((value_type,)), bytes((value_type,)), body)
        return self.nan_checkers[value_type]

    def _start(self) -> bytes | None:
        """Return the index of the function to export as `_start`, None if there is none.

        For an entry it is an injected function: it calls `_initialize`, if the module exports that, then the entry,
        and stores the entry's return value. It costs no gas and no stack.
        """
        if self.entry is None:
            start = self.module.exported(START_FUNCTION, "function")
            return None if start is None else unsigned(start.index)
        entry = self.module.exported(self.entry, "function")
        if entry is None:
            return None
        initialize = self.module.exported(INITIALIZE_FUNCTION, "function")
        body = b"\x00" if initialize is None else b"\x00\x10" + unsigned(initialize.index)
        body += b"\x10" + unsigned(entry.index)
        if self.module.function_type(entry.index).results:
            body += b"\x24" + self.exit
        return self._inject(b"", b"", body)

    def _ending_exceptions(self, function: bytes | None) -> bytes | None:
        """Return the index of a function that calls another, and faults if an exception leaves that; None for None.

        It costs no gas and has no weight.
        """
        if function is None:
            return None
        # block; try_table (catch_all 0); call; end; return; end
        body = b"\x00\x02\x40\x1f\x40\x01\x02\x00\x10" + function + b"\x0b\x0f\x0b"
        return self._inject(b"", b"", body + self.raise_fault(FAULT_EXCEPTION))

    def _table_maximum(self, table: int) -> int:
        own = self.module.tables[table].maximum
        share = TABLE_ELEMENTS // len(self.module.tables)
        return share if own is None else min(own, share)

    def result_block(self, results: bytes) -> bytes:
        """Return the encoded type of a block that takes nothing and leaves values of these types."""
        if not results:
            return _EMPTY
        if len(results) == 1:
            return results
        if results not in self.block_types:
            self.block_types[results] = signed(self._type_index(b"", results))
        return self.block_types[results]

    # -- sections

    def rewrite(self) -> bytes:
        module = self.module
        bodies = self._bodies()  # first: it adds types and functions
        start = self._start()
        initial = None if module.start is None else unsigned(module.start)
        if "exceptions" in module.features:
            start, initial = self._ending_exceptions(start), self._ending_exceptions(initial)
        sections = {number: module.data[start:end] for number, (start, end) in module.sections.items()}
        sections[wasm.TYPE] = vector(self.types)
        if module.imports:
            sections[wasm.IMPORT] = self._imports()
        sections[wasm.FUNCTION] = vector(
            [unsigned(index) for index in module.functions + self.injected_types]
        )
        sections[wasm.CODE] = (
            unsigned(len(module.functions) + len(self.injected_bodies))
            + bodies
            + b"".join(self.injected_bodies)
        )
        sections[wasm.GLOBAL] = self._globals()
        sections[wasm.EXPORT] = self._exports(start, initial)
        if module.tags:
            sections[wasm.TAG] = vector([b"\x00" + unsigned(index) for index in module.tags])
        if module.tables:
            sections[wasm.TABLE] = vector([self._table(index) for index in range(len(module.tables))])
        sections.pop(wasm.START, None)
        return (
            wasm.MAGIC
            + wasm.VERSION
            + b"".join(
                bytes((number,)) + sized(sections[number])
                for number in wasm.SECTION_ORDER
                if number in sections
            )
        )

    def _table(self, index: int) -> bytes:
        table, maximum = self.module.tables[index], self._table_maximum(index)
        if table.minimum > maximum:
            raise BadModuleError(
                "table_limit", f"table {index} starts with {table.minimum} elements, more than {maximum}"
            )
        return bytes((table.element, 1)) + unsigned(table.minimum) + unsigned(maximum)

    def _globals(self) -> bytes:
        old = b""
        if (reader := self.module.reader(wasm.GLOBAL)) is not None:
            reader.unsigned()
            old = reader.bytes(reader.end - reader.position)
        gas = bytes((_I64, 1)) + b"\x42\x00\x0b"
        counter = bytes((_I32, 1)) + b"\x41\x00\x0b"
        counters = 3 if self.entry is None else 4
        return unsigned(self.module.global_count + 1 + counters) + old + gas + counters * counter

    def _imports(self) -> bytes:
        written = []
        for item in self.module.imports:
            if item.kind != "function" or item.module != WASI_MODULE or item.name not in FUNCTIONS:
                raise BadModuleError("forbidden_import", "the module imports what is not there")
            written.append(_HOST_FUNCTIONS[item.name] + unsigned(item.type_index))
        return vector(written)

    def _exports(self, start: bytes | None, initial: bytes | None) -> bytes:
        module = self.module
        exports = [(GAS_GLOBAL, _GLOBAL, self.gas)]
        exports += [(PAGES_GLOBAL, _GLOBAL, self.pages), (FAULT_GLOBAL, _GLOBAL, self.fault)]
        if initial is not None:
            exports.append((START_EXPORT, _FUNCTION, initial))
        if self.entry is not None:
            exports.append((EXIT_GLOBAL, _GLOBAL, self.exit))
        if start is not None:
            exports.append((START_FUNCTION, _FUNCTION, start))
        memory = module.exported(MEMORY_EXPORT, "memory")
        if memory is not None:
            exports.append((MEMORY_EXPORT, _MEMORY, unsigned(memory.index)))
        return vector([sized(name.encode()) + kind + index for name, kind, index in exports])

    def _bodies(self) -> bytes:
        """Return the rewritten entries of the code section."""
        reader = self.module.reader(wasm.CODE)
        count = reader.count() if reader else 0
        if count != len(self.module.functions):
            raise malformed("functions and code do not match")
        if reader is None:
            return b""
        first = reader.position
        bodies = []
        for type_index in self.module.functions:
            size = reader.unsigned()
            bodies.append((type_index, reader.position, reader.position + size))
            reader.skip(size)
        native = None
        if self.native is not None and bodies:
            places = [(type_index, start - first, stop - first) for type_index, start, stop in bodies]
            native = NativeBodies(self.native, self, self.module.data[first : reader.end], places)
        entries, position = [], 0
        while position < count:
            taken, code = (0, b"") if native is None else native.rewrite(position)
            if not taken:
                type_index, start, stop = bodies[position]
                body = Reader(self.module.data, start, stop)
                rewritten = Body(self, self.module.types[type_index], body).rewrite()
                if len(rewritten) > MAX_FUNCTION_BYTES:
                    raise BadModuleError("function_too_large", "a function is too large to be metered")
                taken, code = 1, sized(rewritten)
            entries.append(code)
            position += taken
        return b"".join(entries)


def _as_i32(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value
