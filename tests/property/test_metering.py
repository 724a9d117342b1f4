"""Hold rewritten modules against the reference interpreter and against wasmtime's own count of fuel."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core.errors import PlasmError
from plasm_core.sandbox.metering.rewrite import meter
from tests.support.decoder import decode
from tests.support.engine import exported_numbers, is_valid, run_metered, run_original
from tests.support.observable import metered
from tests.support.reference import STACK_UNITS, run
from tests.support.wasmgen import StackedModule, modules, stacked_modules

GAS = 20_000
PAGES = 4
OWN_EXPORTS = {"plasm:gas", "plasm:pages", "plasm:fault"}

deterministic = settings(deadline=None, derandomize=True, max_examples=100)


def assert_same_as_reference(code: bytes, *, gas: int, memory_pages: int = PAGES) -> None:
    expected = run(code, gas=gas, memory_pages=memory_pages)
    observed = run_metered(metered(code), gas=gas, memory_pages=memory_pages)

    assert (observed.outcome, observed.used) == (expected.outcome, expected.gas_used)
    assert observed.memory == expected.memory
    assert observed.globals == exported_numbers(code, expected.globals)


@deterministic
@given(modules())
def test_a_module_is_rewritten_to_a_valid_module_that_exports_only_our_names(code: bytes) -> None:
    before, rewritten = decode(code), meter(code).code
    own = OWN_EXPORTS | ({"plasm:start"} if before.start is not None else set())
    needed = {"_start", "memory"} & before.exports.keys()

    assert is_valid(rewritten)
    assert rewritten == meter(code).code
    after = decode(rewritten)
    assert after.start is None
    assert after.exports.keys() == needed | own
    for name in needed:
        assert after.exports[name] == before.exports[name]


@deterministic
@given(modules())
def test_the_guests_exports_cannot_reach_the_counters(code: bytes) -> None:
    before, after = decode(code), decode(metered(code))

    counters = {after.exports[name].index for name in OWN_EXPORTS}
    assert len(counters) == len(OWN_EXPORTS)
    assert len(after.globals) >= len(before.globals) + len(counters)
    for name in before.exports:
        assert after.exports[name].kind != 3 or after.exports[name].index not in counters


@deterministic
@given(modules(), st.integers(0, 16), st.integers(-2, 2))
def test_a_run_is_that_of_the_reference_at_any_limit(code: bytes, sixteenths: int, more: int) -> None:
    assert_same_as_reference(code, gas=GAS)
    used = run(code, gas=GAS, memory_pages=PAGES).gas_used
    assert_same_as_reference(code, gas=max(used * sixteenths // 16 + more, 0))


@deterministic
@given(stacked_modules())
def test_a_stack_that_just_suffices_does_and_one_unit_less_does_not(module: StackedModule) -> None:
    ample = 10_000
    needed = run(module.code(ample), gas=GAS, memory_pages=PAGES).peak_units - (STACK_UNITS - ample)

    for room in (needed, needed - 1):
        if room >= 0:
            assert_same_as_reference(module.code(room), gas=GAS)


@deterministic
@given(modules())
def test_a_rewritten_module_does_what_the_original_does(code: bytes) -> None:
    observed = run_metered(metered(code), gas=GAS, memory_pages=PAGES)
    if observed.outcome in ("out_of_gas", "stack_exhausted"):
        return
    original = run_original(code, fuel=2 * GAS, memory_pages=PAGES)

    assert observed.outcome == original.outcome
    if original.instantiated:
        assert observed.memory == original.memory
        assert observed.globals == original.globals


@deterministic
@given(modules(traps=False, bulk=False, grow=False))
def test_gas_is_fuel_where_nothing_traps_or_costs_by_its_operands(code: bytes) -> None:
    observed = run_metered(metered(code), gas=GAS, memory_pages=PAGES)
    original = run_original(code, fuel=2 * GAS, memory_pages=PAGES)

    assert observed.outcome in ("returned", "out_of_gas")
    if observed.outcome == "returned":
        assert observed.used == original.used


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


edits = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "truncate"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x08"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(deterministic, max_examples=300)
@given(modules(), edits)
def test_broken_modules_are_refused_or_rewritten_within_a_bound(
    code: bytes, edits: list[tuple[str, float, bytes]]
) -> None:
    broken = bytearray(code)
    for what, where, data in edits:
        at = int(where * len(broken))
        if what == "replace":
            broken[at : at + len(data)] = data
        elif what == "insert":
            broken[at:at] = data
        else:
            del broken[at : at + len(data) if what == "delete" else None]

    with at_most(5), suppress(PlasmError):
        meter(bytes(broken))
