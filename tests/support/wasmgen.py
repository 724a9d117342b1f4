"""Generate valid WebAssembly modules that do something."""

import attrs
from hypothesis import strategies as st

from tests.support import encoder
from tests.support.decoder import FuncType
from tests.support.encoder import EXTERNREF, FUNCREF, I32, I64, Encoder
from tests.support.reference import STACK_UNITS
from tests.support.wasmcode import Body
from tests.support.wasmplan import Plan

_ENTROPY = st.sampled_from([50, 1500, 3000]).flatmap(lambda size: st.binary(min_size=size, max_size=2 * size))


def _constant(plan: Plan, valtype: int) -> bytes:
    if valtype in (FUNCREF, EXTERNREF):
        return bytes([0xD0, valtype, 0x0B])
    return plan.encoder.const(valtype, plan.bits(valtype)) + b"\x0b"


def _global_section(plan: Plan) -> bytes:
    return plan.encoder.vec(
        [bytes([entry.type, entry.mutable]) + _constant(plan, entry.type) for entry in plan.globals]
    )


def _element_section(plan: Plan) -> bytes:
    """Fill table 0, and add passive and declarative segments: of each kind the format has."""
    encode = plan.encoder
    indices = encode.vec([encode.u32(index) for index in plan.contents])
    functions = [b"\xd2" + encode.u32(index) + b"\x0b" for index in plan.contents]
    if plan.traps and plan.rarely(2):
        functions[-1] = bytes([0xD0, FUNCREF, 0x0B])
    references = encode.vec(functions)
    everything = encode.vec([encode.u32(index) for index in range(len(plan.signatures))])
    at_zero, kind = encode.const(I32, 0) + b"\x0b", b"\0"
    active = [
        encode.u32(0) + at_zero + indices,
        encode.u32(2) + encode.u32(0) + at_zero + kind + indices,
        encode.u32(4) + at_zero + references,
        encode.u32(6) + encode.u32(0) + at_zero + bytes([FUNCREF]) + references,
    ]
    passive = [encode.u32(1) + kind + indices, encode.u32(5) + bytes([FUNCREF]) + references]
    segments = [plan.pick(active[:1] if plan.plain else active)]
    if plan.bulk:
        segments += [plan.pick(passive), encode.u32(3) + kind + everything]
    return encode.vec(segments)


def _data_section(plan: Plan) -> bytes:
    encode = plan.encoder
    segments: list[bytes] = []
    for content in plan.data:
        room = plan.pages * 65536 - len(content)
        offset = encode.const(I32, plan.pick([0, 100, max(room, 0)])) + b"\x0b"
        active = [encode.u32(0) + offset, encode.u32(2) + encode.u32(0) + offset]
        passive = (plan.bulk and not plan.rarely(3)) or room < 100
        header = encode.u32(1) if passive else plan.pick(active[:1] if plan.plain else active)
        segments.append(header + encode.sized(content))
    return encode.vec(segments)


def _export_section(plan: Plan, entry: int) -> bytes:
    encode = plan.encoder
    exports = [("_start", 0, entry), ("memory", 2, 0)]
    if plan.rarely(2):
        exports += [(f"global{index}", 3, index) for index in range(len(plan.globals))]
    if plan.rarely(4):
        exports += [("plasm", 0, plan.order[-1]), ("gas", 1, 0), ("plasm.gas", 3, 0)]
    return encode.vec(
        [encode.name(name) + bytes([kind]) + encode.u32(index) for name, kind, index in exports]
    )


def _ballast(index: int, entry: int, room: int) -> list[bytes]:
    """Write two functions, `index` and the next, of which the second calls `entry` with `room` units left."""
    encode, turns = Encoder(), 6
    locals_, remainder = divmod(STACK_UNITS - room - 5, turns)
    body = encode.vec([encode.u32(locals_ - 8) + bytes([I64])])
    body += encode.op("local.get", 0) + b"\x04\x40" + encode.op("local.get", 0) + encode.const(I32, 1)
    body += encode.op("i32.sub") + encode.op("call", index)
    body += encode.op("else") + encode.op("call", entry) + b"\x0b\x0b"
    wrapper = encode.vec([encode.u32(remainder) + bytes([I64])])
    wrapper += encode.const(I32, turns - 1) + encode.op("call", index) + b"\x0b"
    return [encode.sized(body), encode.sized(wrapper)]


def _build(plan: Plan, room: int | None) -> bytes:
    encode = plan.encoder
    bodies = {index: Body(plan, index).write() for index in plan.order}
    functions = [bodies[index] for index in sorted(bodies)]
    indices = list(plan.type_indices[plan.imports :])
    entry = plan.entry
    if room is not None:
        functions += _ballast(len(plan.signatures), entry, room)
        indices += [len(plan.types), plan.types.index(FuncType())]
        plan.types.append(FuncType((I32,)))
        entry = len(plan.signatures) + 1
    sched_yield = encode.name("wasi_snapshot_preview1") + encode.name("sched_yield") + b"\0"
    tables = [bytes([table.type]) + encode.limits(table.size, table.maximum) for table in plan.tables]
    sections = {
        encoder.TYPE: encode.vec([encode.functype(type_) for type_ in plan.types]),
        encoder.IMPORT: encode.vec([sched_yield + encode.u32(plan.type_indices[0])] * plan.imports),
        encoder.FUNCTION: encode.vec([encode.u32(index) for index in indices]),
        encoder.TABLE: encode.vec(tables),
        encoder.MEMORY: encode.vec([encode.limits(plan.pages, plan.page_maximum)]),
        encoder.GLOBAL: _global_section(plan),
        encoder.EXPORT: _export_section(plan, entry),
        encoder.START: b"" if plan.start is None else encode.u32(plan.start),
        encoder.ELEMENT: _element_section(plan),
        encoder.DATA_COUNT: encode.u32(len(plan.data)) if plan.uses_data or plan.rarely(2) else b"",
        encoder.CODE: encode.vec(functions),
        encoder.DATA: _data_section(plan),
    }
    module = bytearray(encoder.MAGIC)
    for kind, content in sections.items():
        if plan.rarely(12):
            module += encode.section(0, encode.name(plan.pick(["name", "x"])) + b"\x07\xff")
        if content and not (kind == encoder.IMPORT and not plan.imports):
            module += encode.section(kind, content)
    return bytes(module)


@st.composite
def modules(
    draw: st.DrawFn, *, traps: bool = True, bulk: bool = True, grow: bool = True, plain: bool = False
) -> bytes:
    """Draw a module that exports `_start` of type `() -> ()` and a memory as `memory`.

    Without `traps` it does not trap and ends, though perhaps not soon; then it has no import nor start function.
    Without `bulk` it has no bulk or reference instructions, without `grow` no memory or table grows.
    If it is `plain`, it has no feature of docs/determinism.md that any engine lacks.
    """
    return module_of(draw(_ENTROPY), traps=traps, bulk=bulk, grow=grow, plain=plain)


def module_of(
    entropy: bytes, *, traps: bool = True, bulk: bool = True, grow: bool = True, plain: bool = False
) -> bytes:
    """Return the module that `modules` makes of some random bytes."""
    plan = Plan(entropy, traps=traps, bulk=bulk and not plain, grow=grow, plain=plain)
    fills_stack = traps and not plain and plan.rarely(8)
    room = plan.pick([20, 60, 100, 500]) + plan.below(20) if fills_stack else None
    return _build(plan, room)


@attrs.frozen
class StackedModule:
    """A module that fills its stack before it does anything else."""

    entropy: bytes

    def code(self, room: int) -> bytes:
        """Give the module that leaves `room` units; otherwise it is always the same."""
        return _build(Plan(self.entropy, traps=True, bulk=True, grow=True), room)


def stacked_modules() -> st.SearchStrategy[StackedModule]:
    return st.builds(StackedModule, _ENTROPY)
