"""Call every host function with whatever a hostile guest can pass, over a memory that is strict about bounds."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plasm_core.sandbox.wasi.endings import Exit, OutOfGas, OutputLimit
from plasm_core.sandbox.wasi.host import Host
from plasm_core.sandbox.wasi.host_job import HostJob
from plasm_core.testing.fakes import FakeInstance, FakeOutput, FakeStdin, Step
from plasm_core.testing.script import (
    CLOCK,
    FD_READ,
    FUNCTIONS,
    INVAL,
    MONOTONIC,
    REALTIME,
    SUCCESS,
    clock_subscription,
    fd_subscription,
)

MEMORY_BYTES = 1 << 16
AMPLE_GAS = 2**53 - 1
STRUCTURES_BYTES = 64
"""What the host writes beside the data that a call names: the largest structure is a filestat."""

Call = tuple[str, list[int]]


class Rig:
    """A host over a fake instance, with a job."""

    def __init__(
        self,
        *,
        gas: int = AMPLE_GAS,
        args: Sequence[bytes] = (),
        env: Sequence[bytes] = (),
        stdin: bytes = b"",
        output_bytes: int = 1 << 20,
        real_clock: bool = False,
        real_random: bool = False,
        memory: bytes = b"",
    ) -> None:
        self.instance = FakeInstance(gas=gas, memory_bytes=MEMORY_BYTES)
        self.journal = self.instance.journal
        self.instance.memory.data[: len(memory)] = memory[:MEMORY_BYTES]
        self.output = FakeOutput(self.journal)
        host = Host("gas")
        self.functions: dict[str, tuple[str, str, Callable[..., Any]]] = host.functions
        host.attach(self.instance)
        self.job = HostJob(
            args=list(args),
            env=list(env),
            stdin=FakeStdin(stdin, self.journal),
            seed=bytes(32),
            output_bytes=output_bytes,
            real_clock=real_clock,
            real_random=real_random,
            output=self.output,
        )
        host.begin(self.job)

    def call(self, name: str, *arguments: int) -> int:
        """Call a function and return its errno."""
        result = self.functions[name][2](*arguments)
        assert isinstance(result, int)
        return result

    @property
    def memory(self) -> bytearray:
        return self.instance.memory.data


def cost_of(name: str, arguments: list[int], rig: Rig, moved: int) -> int:
    """Return what a successful call costs by docs/determinism.md. `moved`: bytes moved by reads and writes."""
    if name in ("fd_read", "fd_write"):
        return 1_000 + 8 * arguments[2] + moved
    if name == "random_get":
        return 1_000 + arguments[1]
    if name == "poll_oneoff":
        return 1_000 + 48 * arguments[2]
    if name == "args_get":
        return 1_000 + sum(4 + len(item) + 1 for item in ARGV)
    if name == "environ_get":
        return 1_000 + sum(4 + len(item) + 1 for item in ENVIRON)
    return 1_000


ARGV = [b"main", b"one", b""]
ENVIRON = [b"A=1", b"LONG=" + b"x" * 50]

near = st.integers(0, 64)
pointers = st.one_of(
    near,
    near.map(lambda value: MEMORY_BYTES - value),
    near.map(lambda value: MEMORY_BYTES + value),
    near.map(lambda value: 2**32 - 1 - value),
    near.map(lambda value: 2**31 - 32 + value),
    st.integers(0, 2**32 - 1),
)
small = st.integers(0, 5)
words = st.one_of(small, pointers)
longs = st.one_of(small, st.integers(0, 2**64 - 1), near.map(lambda value: 2**64 - 1 - value))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    arguments = [draw(words if kind == "i" else longs) for kind in FUNCTIONS[name]]
    if arguments and name.startswith(("fd_", "sock_", "path_")):
        arguments[0] = draw(st.one_of(st.integers(0, 3), words))
    return name, arguments


# Vectors and subscriptions are read from memory: let it hold plausible ones.
subscriptions = st.one_of(
    st.builds(
        clock_subscription,
        longs,
        st.integers(0, 5),
        longs,
        flags=st.integers(0, 3),
    ),
    st.builds(fd_subscription, longs, st.integers(1, 3), words),
)
vectors = st.builds(lambda pointer, length: struct.pack("<II", pointer, length), pointers, words)
memories = st.lists(st.one_of(vectors, subscriptions, st.binary(max_size=64)), max_size=12).map(b"".join)


def play(rig: Rig, script: list[Call]) -> None:
    """Make calls until one ends the run, and hold each to the contract."""
    for name, arguments in script:
        before, gas = len(rig.journal), rig.instance.gas
        ended = False
        errno: int | None = None
        try:
            errno = rig.functions[name][2](*arguments)
        except (Exit, OutOfGas, OutputLimit) as exc:
            ended = True
            assert isinstance(exc, Exit) == (name == "proc_exit" and rig.instance.gas >= 0)
            assert isinstance(exc, OutOfGas) == (rig.instance.gas < 0)
        steps = rig.journal[before:]
        check_charged_first(steps)
        spent = gas - rig.instance.gas
        assert spent >= 1_000
        if errno == SUCCESS:
            moved = sum(step.count for step in steps if step.what in ("stdin", "output"))
            assert spent == cost_of(name, arguments, rig, moved)
        if ended:
            return
        assert isinstance(errno, int)
        assert 0 <= errno <= 76


def check_charged_first(steps: list[Step]) -> None:
    """Each byte is paid for before it is moved, and nothing is written before the last charge."""
    assert steps[0].what == "charge"
    assert steps[0].count == 1_000
    credit = -1_000
    written = 0
    moved = False
    for step in steps:
        if step.what == "charge":
            assert not moved, "something was charged behind the work"
            credit += step.count
        elif step.what == "read":
            credit -= step.count
            assert credit >= 0, "memory was read that was not paid for"
        else:
            moved = True
            written += step.count if step.what == "write" else 0
    charged = sum(step.count for step in steps if step.what == "charge") - 1_000
    assert written <= charged + STRUCTURES_BYTES


@settings(max_examples=1_000)
@given(memories, st.lists(calls(), min_size=1, max_size=8), st.binary(max_size=100))
def test_no_call_reaches_outside_or_fails_in_an_undocumented_way(
    memory: bytes, script: list[Call], stdin: bytes
) -> None:
    play(Rig(memory=memory, stdin=stdin, args=ARGV[1:], env=ENVIRON), script)


@settings(max_examples=300)
@given(memories, st.lists(calls(), min_size=1, max_size=8), st.integers(0, 20_000), st.integers(0, 100))
def test_gas_and_output_end_a_run_and_are_never_overdrawn(
    memory: bytes, script: list[Call], gas: int, output_bytes: int
) -> None:
    rig = Rig(memory=memory, stdin=b"x" * 50, gas=gas, output_bytes=output_bytes, args=ARGV[1:], env=ENVIRON)

    play(rig, script)

    assert all(len(data) <= output_bytes for data in rig.output.streams.values())


@settings(max_examples=300)
@given(memories, st.lists(calls(), min_size=1, max_size=6))
def test_a_call_that_fails_writes_nothing(memory: bytes, script: list[Call]) -> None:
    """A guest must not learn from half-done work where its bounds were checked."""
    rig = Rig(memory=memory, stdin=b"y" * 50, args=ARGV[1:], env=ENVIRON)
    for name, arguments in script:
        before = bytes(rig.memory)
        try:
            errno = rig.functions[name][2](*arguments)
        except (Exit, OutOfGas, OutputLimit):
            return
        assert errno == SUCCESS or rig.memory == before


def test_every_function_has_its_type_of_the_specification() -> None:
    functions = Rig().functions

    assert {name: (params, results) for name, (params, results, _) in functions.items()} == {
        name: (params, "" if name == "proc_exit" else "i") for name, params in FUNCTIONS.items()
    }


def test_proc_exit_passes_the_code_as_it_is() -> None:
    with pytest.raises(Exit) as caught:
        Rig().functions["proc_exit"][2](2**32 - 1)

    assert caught.value.code == 2**32 - 1


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_function_costs_a_thousand_before_anything_else(name: str) -> None:
    rig = Rig(gas=999)

    with pytest.raises(OutOfGas):
        rig.functions[name][2](*[0] * len(FUNCTIONS[name]))
    assert rig.journal == [Step("charge", 1_000)]


def test_a_call_that_uses_the_last_gas_is_made() -> None:
    rig = Rig(gas=1_000)

    assert rig.call("sched_yield") == SUCCESS
    assert rig.instance.gas == 0


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 100))
@example([5, 0], 5)
def test_output_keeps_exactly_what_fits(lengths: list[int], limit: int) -> None:
    text = bytes(range(200))
    rig = Rig(output_bytes=limit, memory=text)
    iovs = b"".join(struct.pack("<II", 7 * number, length) for number, length in enumerate(lengths))
    rig.memory[1024 : 1024 + len(iovs)] = iovs
    whole = b"".join(text[7 * number : 7 * number + length] for number, length in enumerate(lengths))

    if len(whole) <= limit:
        assert rig.call("fd_write", 1, 1024, len(lengths), 512) == SUCCESS
    else:
        with pytest.raises(OutputLimit):
            rig.call("fd_write", 1, 1024, len(lengths), 512)

    assert rig.output.streams == {1: whole[:limit], 2: b""}


def test_each_stream_has_its_own_cap() -> None:
    rig = Rig(output_bytes=4, memory=b"abcd" + struct.pack("<II", 0, 4))

    assert rig.call("fd_write", 1, 4, 1, 64) == SUCCESS
    assert rig.call("fd_write", 2, 4, 1, 64) == SUCCESS
    with pytest.raises(OutputLimit):
        rig.call("fd_write", 2, 4, 1, 64)
    assert rig.output.streams == {1: b"abcd", 2: b"abcd"}


def test_output_over_the_gas_limit_is_not_written() -> None:
    rig = Rig(gas=1_000 + 8 + 3, memory=b"abcd" + struct.pack("<II", 0, 4))

    with pytest.raises(OutOfGas):
        rig.call("fd_write", 1, 4, 1, 64)
    assert rig.output.streams[1] == b""


def test_vectors_that_name_more_than_4_gib_are_refused_or_charged_in_full() -> None:
    """1,024 vectors over the whole memory: 64 MiB here, but 4 TiB over the largest memory."""
    rig = Rig(output_bytes=1 << 10)
    for number in range(1024):
        struct.pack_into("<II", rig.memory, 8 * number, 0, MEMORY_BYTES)

    with pytest.raises(OutputLimit):
        rig.call("fd_write", 1, 0, 1024, 0)

    assert AMPLE_GAS - rig.instance.gas == 1_000 + 8 * 1024 + 1024 * MEMORY_BYTES


def test_strings_that_wrap_around_the_address_space_fault() -> None:
    rig = Rig(args=[b"x" * 100])

    assert rig.call("args_get", 0, 2**32 - 10) != SUCCESS
    assert rig.call("args_get", 2**32 - 4, 0) != SUCCESS


def test_the_last_moment_of_virtual_time_is_not_passed() -> None:
    """Time stops before it overflows what a timestamp holds."""
    rig = Rig(memory=clock_subscription(0, REALTIME, 2**64 - 1))
    for _ in range(3):
        assert rig.call("poll_oneoff", 0, 1024, 1, 2048) == SUCCESS
        assert rig.call("clock_time_get", REALTIME, 0, 4096) == SUCCESS
        assert rig.call("clock_time_get", MONOTONIC, 0, 4104) == SUCCESS

    realtime, monotonic = struct.unpack_from("<QQ", rig.memory, 4096)
    assert monotonic < 2**63
    assert realtime == 946_684_800 * 10**9 + monotonic


@pytest.mark.parametrize("count", [0, 2**32 - 1])
def test_polling_nothing_or_too_much_is_invalid(count: int) -> None:
    rig = Rig()

    assert rig.call("poll_oneoff", 0, 0, count, 0) == INVAL


def test_an_unknown_kind_of_subscription_is_invalid() -> None:
    rig = Rig(memory=fd_subscription(0, 3, 0))

    assert rig.call("poll_oneoff", 0, 1024, 1, 2048) == INVAL


def test_events_may_overwrite_their_subscriptions() -> None:
    """Subscriptions are read whole before the first event is written."""
    asked = fd_subscription(1, FD_READ, 0) + clock_subscription(2, MONOTONIC, 0) + fd_subscription(3, 2, 1)
    rig = Rig(memory=asked, stdin=b"abc")

    assert rig.call("poll_oneoff", 0, 0, 3, 4096) == SUCCESS

    assert struct.unpack_from("<I", rig.memory, 4096) == (3,)
    events = [struct.unpack_from("<QHB", rig.memory, 32 * number) for number in range(3)]
    assert events == [(1, 0, FD_READ), (2, 0, CLOCK), (3, 0, 2)]


def test_input_may_overwrite_its_own_vectors() -> None:
    """Vectors are read whole before the first byte arrives."""
    rig = Rig(memory=struct.pack("<IIII", 0, 16, 100, 4), stdin=b"\xff" * 20)

    assert rig.call("fd_read", 0, 0, 2, 200) == SUCCESS
    assert bytes(rig.memory[:16]) == b"\xff" * 16
    assert bytes(rig.memory[100:104]) == b"\xff" * 4
    assert struct.unpack_from("<I", rig.memory, 200) == (20,)


# -- capabilities


def test_the_real_clock_is_the_machines() -> None:
    before = time.time_ns()
    rig = Rig(real_clock=True)

    for address in (0, 8):
        assert rig.call("clock_time_get", REALTIME, 0, address) == SUCCESS

    first, second = struct.unpack_from("<QQ", rig.memory, 0)
    assert before <= first < second <= time.time_ns() + 1_000_000


def test_waiting_on_the_real_clock_takes_real_time() -> None:
    rig = Rig(real_clock=True, memory=clock_subscription(9, MONOTONIC, 2_000_000))
    before = time.monotonic_ns()

    assert rig.call("poll_oneoff", 0, 1024, 1, 2048) == SUCCESS

    assert time.monotonic_ns() - before >= 2_000_000
    assert struct.unpack_from("<Q", rig.memory, 1024) == (9,)


class Woken(Exception):
    """Raised by a timer in a call that waits."""


@contextmanager
def woken_after(seconds: float) -> Iterator[None]:
    """Raise `Woken` in whatever goes on."""

    def wake(_number: int, _frame: FrameType | None) -> None:
        raise Woken

    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("timeout", [2**63 - 1, 2**64 - 1])
def test_an_endless_wait_on_the_real_clock_waits(timeout: int) -> None:
    """Programs ask for it so, and are ended by the wall time."""
    rig = Rig(real_clock=True, memory=clock_subscription(9, MONOTONIC, timeout))

    with woken_after(0.05), pytest.raises(Woken):
        rig.call("poll_oneoff", 0, 1024, 1, 2048)


def test_real_randomness_differs_from_run_to_run() -> None:
    first, second = (Rig(real_random=True) for _ in range(2))

    for rig in (first, second):
        assert rig.call("random_get", 0, 32) == SUCCESS

    assert first.memory[:32] != second.memory[:32]


def test_one_capability_does_not_bring_the_other() -> None:
    timed, random = Rig(real_clock=True), Rig(real_random=True)
    seeded = Rig()
    for rig in (timed, random, seeded):
        assert rig.call("random_get", 0, 32) == SUCCESS
        assert rig.call("clock_time_get", MONOTONIC, 0, 64) == SUCCESS

    assert timed.memory[:32] == seeded.memory[:32]
    assert random.memory[64:72] == seeded.memory[64:72] == bytes(8)
