"""Exceptions in one function's body: throws, handlers, and the stack's height where a handler begins."""

from __future__ import annotations

from plasm_core.sandbox.metering import opcodes as op
from plasm_core.sandbox.metering.binary import Reader, malformed, unsigned
from plasm_core.sandbox.metering.control import (
    Label,
    ends_in_float,
    read_block_type,
    read_catches,
    write_catches,
)
from plasm_core.sandbox.metering.instructions import Instructions

LEAVE, RESTORE = 0, 1


class Handlers(Instructions):
    """The rewriting of one function's body, with its exception handlers."""

    def _try_table(self, start: int) -> None:
        """Keep a block with exception handlers, and restore the stack's height where they begin.

        Each handler is charged for here: a throw compares its tag with those of all the handlers on its way.
        A throw leaves functions without lowering it. The start of a handler may also be reached by branches, on which
        the height already is that of the function's start.
        """
        self.rewriter.module.features.add("exceptions")
        self.reads.begin_block(self.height)
        reader = Reader(self.data, self.position, self.reader.end)
        encoded, params, results = read_block_type(self.rewriter.module, reader)
        catches = read_catches(reader)
        self.cost += len(catches)
        self.position = reader.position
        self._replace(start, bytes((op.TRY_TABLE,)) + encoded + write_catches(catches))
        for _, _, depth in catches:
            if depth >= len(self.labels):
                raise malformed("an exception handler is outside its function")
            label = self.labels[-1 - depth]
            if not label.catches and label.opcode == op.LOOP:
                self.patches.append((label.start, RESTORE))
            label.catches = True
        if catches and not self.restore:
            self.restore = b"\x20" + self.locals.saved_stack() + b"\x24" + self.rewriter.stack + self.reload
        self.labels.append(
            Label(op.TRY_TABLE, self.height - params, params, len(results), ends_in_float(results))
        )
        self.nesting = max(self.nesting, len(self.labels) - 1)

    def _throw(self, opcode: int, start: int) -> None:
        module = self.rewriter.module
        module.features.add("exceptions")
        self.cost += op.THROW_GAS
        if opcode == op.THROW_REF:
            self._move(1, 0)
            return
        tag = self._index()
        if tag >= len(module.tags):
            raise malformed("a tag index is out of range")
        self._move(len(module.types[module.tags[tag]].params), 0)
        self._replace(start, bytes((opcode,)) + unsigned(tag))

    def _patched(self, left: bytes) -> bytes | bytearray:
        """Return the rewritten instructions with what `patches` inserts: `left` before tail calls."""
        if not self.patches:
            return self.out
        pieces: list[bytes | bytearray] = []
        done = 0
        for offset, which in sorted(self.patches):
            pieces += [self.out[done:offset], left if which == LEAVE else self.restore]
            done = offset
        return b"".join([*pieces, self.out[done:]])
