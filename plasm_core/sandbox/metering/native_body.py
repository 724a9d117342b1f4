"""Rewriting function bodies by `native/body.wasm`, ten times as fast as `function_body.py` and byte for byte the same.

It takes the commonest code only, and gives up all other functions, which Python then rewrites.
"""

from __future__ import annotations

import struct
from pathlib import Path

from plasm_core.plugins.engine import PAGE_BYTES, EngineFailure, Instance, Trap
from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.instructions import Injected

LEAST_MODULE_BYTES = 512 << 10
"""Python rewrites a smaller module in less time than it takes to compile `body.wasm`."""
_OK, _GIVE_UP, _NEED_NULL_CHECK, _NEED_NAN_CHECK_F32 = range(4)
_FEATURES = {
    1: "f32-bits",
    2: "sign-extension",
    4: "nontrapping-float-to-int",
    8: "bulk-memory-opt",
    64: "large-frames",
}
_HAS_INDIRECT_CALL, _HAS_GROWTH = 16, 32
_NO_FUNCTION = 0xFFFF_FFFF
_HEAD = struct.Struct("<24I")  # the C structure `in`
_NULL_CHECK, _NAN_CHECK_F32, _NAN_CHECK_F64, _NEXT, _PAGES = 7, 8, 9, 21, 23
_RESULT = struct.Struct("<4I")
_TYPE, _BODY = struct.Struct("<4I"), struct.Struct("<3I")
_DONE_BYTES = 4 << 20
_MOST_OUT_BYTES = 96 << 20
_MAX_MEMORY_BYTES = 1 << 32
_OUT_FACTOR = 48
_F32, _F64 = 0x7D, 0x7C


def native_code() -> bytes:
    """Return the WebAssembly module that rewrites bodies."""
    return (Path(__file__).parent / "native" / "body.wasm").read_bytes()


def _index(encoded: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))


class NativeBodies:
    """Rewrites the bodies of one module. `instance` is one of `native_code`."""

    def __init__(
        self, instance: Instance, rewriter: Injected, code: bytes, bodies: list[tuple[int, int, int]]
    ) -> None:
        """Prepare for a module with the code section `code`. `bodies`: index of the type, begin and end in it, of each."""
        self._instance, self._memory, self._rewriter = instance, instance.memory, rewriter
        self._in, self._result = instance.get_global("in"), instance.get_global("result")
        functions, types = rewriter.function_arities, rewriter.arities
        arities = [
            min(params, 0xFFFF) << 16 | min(results, 0xFFFF) for params, results in (*functions, *types)
        ]
        kinds = rewriter.module.types
        params = b"".join(kind.params for kind in kinds)
        largest_bytes = max(stop - begin for _, begin, stop in bodies)
        out_bytes = min(_MOST_OUT_BYTES, _OUT_FACTOR * largest_bytes + PAGE_BYTES)
        sizes = [4 * len(arities), len(params), _TYPE.size * len(kinds), _BODY.size * len(bodies), len(code)]
        sizes += [out_bytes, max(_DONE_BYTES, out_bytes)]
        at = [(instance.get_global("__heap_base") + 15) & ~15]
        for size in sizes:
            at.append(at[-1] + ((size + 15) & ~15))
        self._done = at[6]
        self.usable = at[7] < _MAX_MEMORY_BYTES
        if not self.usable:
            return
        self._head = [
            *(_index(item) for item in (rewriter.gas, rewriter.stack, rewriter.fault)),
            *(_index(item) for item in (rewriter.charge, rewriter.grow)),
            *(int(rewriter.canonical_nans), int(rewriter.trap_checks)),
            *(3 * [_NO_FUNCTION]),
            *(len(functions), len(types), at[0], at[0] + 4 * len(functions)),
            *(at[4], at[5], at[6], at[6], at[7], at[2], at[3], 0, len(bodies)),
            max(0, -(-(at[7] - self._memory.size()) // PAGE_BYTES)),
        ]
        self._memory.write(self._in, _HEAD.pack(*self._head))
        instance.call("grow")
        self.usable = self._memory.size() >= at[7]
        if not self.usable:
            return
        described, position = [], at[1]
        for kind in kinds:
            result_type = kind.results[0] if kind.results else 0
            described.append(_TYPE.pack(position, len(kind.params), len(kind.results), result_type))
            position += len(kind.params)
        blocks = [struct.pack(f"<{len(arities)}I", *arities), params, b"".join(described)]
        blocks += [b"".join([_BODY.pack(*item) for item in bodies]), code]
        for address, block in zip(at, blocks, strict=False):
            self._memory.write(address, block)
        self._write_tables()

    def _write_tables(self) -> None:
        follows = op.FOLLOWS_CANONICAL if self._rewriter.canonical_nans else op.FOLLOWS
        follows = op.FOLLOWS_CHECKED if self._rewriter.trap_checks else follows
        truncates = bytes(op.TRUNCATIONS.get(opcode, 0) for opcode in range(256))
        effects = struct.pack("<256b", *op.EFFECT)
        tables = {"follows": bytes(follows), "cost_of": op.COST, "effect_of": effects, "truncates": truncates}
        for name, table in tables.items():
            self._memory.write(self._instance.get_global(name), table)

    def rewrite(self, first: int) -> tuple[int, bytes]:
        """Rewrite bodies from `first` on. Return how many it has taken, and their entries of the code section.

        Where it takes none, Python has to rewrite the first. Features are recorded, and functions are injected, as
        `Body.rewrite` does.
        """
        if not self.usable:
            return 0, b""
        parts, taken = [], first
        while True:
            self._head[_NEXT] = taken
            self._memory.write(self._in, _HEAD.pack(*self._head))
            try:
                self._instance.call("rewrite")
            except (Trap, EngineFailure):  # a bug of ours: do not trust this library any more
                self.usable = False
                return 0, b""
            status, taken, length, has = _RESULT.unpack(self._memory.read(self._result, _RESULT.size))
            parts.append(self._memory.read(self._done, length))
            self._note(has)
            if status == _OK and length and taken < self._head[_NEXT + 1]:
                continue  # the output buffer was too small
            if status in (_OK, _GIVE_UP):
                return taken - first, b"".join(parts)
            self._inject(status)

    def _inject(self, status: int) -> None:
        rewriter = self._rewriter
        if status == _NEED_NULL_CHECK:
            self._head[_NULL_CHECK] = _index(rewriter.null_check(0))
        elif status == _NEED_NAN_CHECK_F32:
            self._head[_NAN_CHECK_F32] = _index(rewriter.nan_check(_F32))
        else:
            self._head[_NAN_CHECK_F64] = _index(rewriter.nan_check(_F64))

    def _note(self, has: int) -> None:
        module = self._rewriter.module
        module.features.update(feature for bit, feature in _FEATURES.items() if has & bit)
        if has & _HAS_INDIRECT_CALL:
            module.note_call_indirect(0)
        if has & _HAS_GROWTH:
            module.memory_grows = True
