"""The contract of engines: traps, limits, gas, the stack, NaNs.

Numbers are those of docs/determinism.md. Each expected value is derived from that page, never from an engine's
answer.
"""

from __future__ import annotations

import struct
import threading
from abc import abstractmethod
from collections.abc import Iterator

import pytest

from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import Outcome
from plasm_core.records.manifest import PROFILE, PROFILE_V2
from plasm_core.testing.bench import (
    AMPLE,
    OUT_OF_GAS,
    OUTPUT_LIMIT,
    Bench,
    exited,
    open_bench,
    trapped,
)
from plasm_core.trap_kinds import TRAP_KINDS

PAGE = 65_536
STACK_UNITS = 262_144
DIVISIONS = range(8)
OVERFLOWS = (8, 9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23)
CONVERSIONS = (12, 16, 20, 24)
ACCESSES = range(25, 31)
"""What of modules/trap_variants.wat traps in which way."""

CANONICAL_F32, CANONICAL_F64 = 0x7FC0_0000, 0x7FF8_0000_0000_0000


class EngineContract:
    """Tests the parts of the contract that an engine could get wrong. A subclass defines the fixture `runtime`."""

    @classmethod
    @abstractmethod
    def runtime(cls) -> Runtime:
        """Return the runtime under test, which must be installed as a plugin."""

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        """Return a node with the runtime. All tests of the session share one cache."""
        with open_bench(cls.runtime(), tmp_path_factory.getbasetemp() / "bench") as bench:
            yield bench

    def needs(self, *features: str) -> None:
        """Skip a test if the runtime refuses modules with one of these features."""
        lacking = sorted(set(features) - self.runtime().features)
        if lacking:
            pytest.skip(f"the runtime does not claim {', '.join(lacking)}")

    # -- how a run ends

    @pytest.mark.parametrize("kind", TRAP_KINDS)
    def test_each_kind_of_trap_is_told(self, bench: Bench, kind: str) -> None:
        profile = PROFILE
        if kind in ("uncaught_exception", "null_reference"):
            self.needs("exceptions")
            profile = PROFILE_V2

        assert bench.run(f"trap_{kind}", profile=profile).outcome == trapped(kind)

    @pytest.mark.parametrize(
        ("variant", "kind"),
        [
            *((number, "integer_division_by_zero") for number in DIVISIONS),
            *((number, "integer_overflow") for number in OVERFLOWS),
            *((number, "bad_conversion_to_integer") for number in CONVERSIONS),
            *((number, "memory_out_of_bounds") for number in ACCESSES),
        ],
    )
    def test_each_instruction_that_can_trap_does(self, bench: Bench, variant: int, kind: str) -> None:
        """The variants are listed in modules/trap_variants.wat."""
        assert bench.run("trap_variants", stdin=bytes([variant])).outcome == trapped(kind)

    @pytest.mark.parametrize("code", [0, 1, 126, 255, 2**31, 2**32 - 1])
    def test_an_exit_code_is_a_u32(self, bench: Bench, code: int) -> None:
        assert bench.run("exit", stdin=struct.pack("<I", code)).outcome == exited(code)

    def test_returning_from_start_is_exit_0(self, bench: Bench) -> None:
        assert bench.run("gas_empty").outcome == exited(0)

    def test_an_endless_loop_uses_exactly_its_gas(self, bench: Bench) -> None:
        ended = bench.run("loop", gas=10_000_001)

        assert ended.outcome == OUT_OF_GAS
        assert ended.gas_used == 10_000_001

    def test_a_run_that_outlasts_its_wall_time_is_ended(self, bench: Bench) -> None:
        ended = bench.run("loop", gas=2**53 - 1, wall_time_s=1)

        assert ended.outcome.kind == "timed_out"
        assert not ended.outcome.recheckable

    def test_a_run_that_outlasts_its_wall_time_tells_what_it_used_at_least(self, bench: Bench) -> None:
        """The module calls the host three times, and then computes."""
        for wall_time_s in (2, 20):  # on a busy machine it may not have begun after two seconds
            ended = bench.run("spin", gas=2**53 - 1, wall_time_s=wall_time_s)
            if ended.stdout == b"...":
                break

        assert (ended.outcome.kind, ended.stdout) == ("timed_out", b"...")
        assert 3 * 1_009 <= ended.gas_used < 2**53 - 1

    def test_a_run_ends_when_its_owner_cancels(self, bench: Bench) -> None:
        """The job writes 1 GiB; it is cancelled when the first bytes arrive."""
        cancelled = threading.Event()

        ended = bench.run(
            "flood",
            stdin=struct.pack("<II", 1, 16_384),
            gas=2**53 - 1,
            output_bytes=1 << 31,
            cancelled=cancelled,
            output=lambda _stream, _data: cancelled.set(),
        )

        assert ended.outcome.kind == "cancelled"

    # -- the start function

    def test_the_start_function_runs_first_and_is_metered(self, bench: Bench) -> None:
        """Gas of each of the two functions: 1 for the entry, 4 constants and a call, 1,000 for the host call, 8 for its vector, and its bytes."""
        ended = bench.run("start_order")

        assert (ended.outcome, ended.stdout) == (exited(0), b"startmain")
        assert ended.gas_used == (1 + 5 + 1_000 + 8 + 5) + (1 + 5 + 1_000 + 8 + 4)

    def test_a_start_function_can_exit(self, bench: Bench) -> None:
        assert bench.run("start_exit").outcome == exited(7)

    def test_a_start_function_can_trap(self, bench: Bench) -> None:
        assert bench.run("start_unreachable").outcome == trapped("unreachable")

    def test_a_start_function_can_run_out_of_gas(self, bench: Bench) -> None:
        ended = bench.run("start_loop", gas=100_000)

        assert (ended.outcome, ended.gas_used) == (OUT_OF_GAS, 100_000)

    # -- memory

    def test_memory_grows_to_the_limit_and_no_further(self, bench: Bench) -> None:
        """A limit that is not a whole number of pages is rounded down: 10.5 pages are 10."""
        ended = bench.run("grow", stdin=struct.pack("<12I", *[1] * 12), memory_bytes=10 * PAGE + PAGE // 2)

        assert ended.outcome == exited(0)
        assert struct.unpack("<12i", ended.stdout) == (1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -1, -1)

    def test_a_growth_is_granted_whole_or_not_at_all(self, bench: Bench) -> None:
        asked = [0, 10, 2**32 - 1, 2**31, 65_536, 65_535, 9, 1, 0]

        ended = bench.run("grow", stdin=struct.pack("<9I", *asked), gas=2**40, memory_bytes=10 * PAGE)

        assert ended.outcome == exited(0)
        assert struct.unpack("<9i", ended.stdout) == (1, -1, -1, -1, -1, -1, 1, -1, 10)

    def test_a_module_keeps_its_own_maximum(self, bench: Bench) -> None:
        ended = bench.run("grow_bounded", stdin=struct.pack("<4I", 5, 4, 1, 0))

        assert struct.unpack("<4i", ended.stdout) == (-1, 1, -1, 5)

    # -- output

    @pytest.mark.parametrize("stream", [1, 2])
    def test_output_is_kept_up_to_exactly_its_limit(self, bench: Bench, stream: int) -> None:
        words = b"".join(struct.pack("<I", number) for number in range(16_384))
        limit = 1_000_001

        ended = bench.run("flood", stdin=struct.pack("<II", stream, 16_384), gas=2**40, output_bytes=limit)

        assert ended.outcome == OUTPUT_LIMIT
        kept = {1: ended.stdout, 2: ended.stderr}
        assert kept.pop(stream) == (words * 16)[:limit]
        assert list(kept.values()) == [b""]

    def test_output_of_exactly_the_limit_is_allowed(self, bench: Bench) -> None:
        ended = bench.run("flood", stdin=struct.pack("<II", 1, 3), output_bytes=3 * 65_536)

        assert ended.outcome == exited(0)
        assert len(ended.stdout) == 3 * 65_536

    # -- gas, worked out in each module's first lines

    @pytest.mark.parametrize(
        ("module", "gas", "outcome"),
        [
            ("gas_empty", 1, exited(0)),
            ("gas_straight", 4, exited(0)),
            ("gas_loop", 3 + 10 * 5, exited(0)),
            ("gas_branch", 3 + 1 + 2 + 3, exited(0)),
            ("gas_call", 2 + 3 + 2 + 3 + 2, exited(0)),
            ("gas_growth", 1 + 5 + 3 + 70_000, exited(0)),
            ("gas_host", (1 + 4 + 1 + 1_000 + 16 + 10) + (1 + 1_000), exited(0)),
            ("gas_halfway", 1 + 5, trapped("integer_division_by_zero")),
            ("gas_late_trap", 3 + 4, trapped("unreachable")),
        ],
    )
    def test_a_run_needs_exactly_the_gas_of_the_schedule(
        self, bench: Bench, module: str, gas: int, outcome: object
    ) -> None:
        """With exactly that gas it ends normally; with one less it is out of gas, however it ends normally."""
        enough = bench.run(module, gas=gas)
        short = bench.run(module, gas=gas - 1) if gas > 1 else None

        assert (enough.outcome, enough.gas_used) == (outcome, gas)
        assert short is None or (short.outcome, short.gas_used) == (OUT_OF_GAS, gas - 1)

    def test_bulk_instructions_cost_their_count(self, bench: Bench) -> None:
        self.needs("bulk-memory", "bulk-memory-opt", "bulk-table")

        filled = bench.run("gas_bulk")
        beyond = bench.run("gas_bulk_trap")

        assert filled.gas_used == 1 + (4 + 100) + (4 + 50) + (4 + 7) + 1
        assert beyond.outcome == trapped("memory_out_of_bounds")
        assert beyond.gas_used == 1 + 4 + 200_000

    def test_table_instructions_cost_their_count_and_tables_are_limited(self, bench: Bench) -> None:
        self.needs("bulk-table", "reference-types")

        ended = bench.run("gas_table")

        assert ended.outcome == exited(0)
        assert ended.gas_used == 1 + (3 + 20) + (4 + 10) + (4 + 5) + 1 + (3 + 2_000_000) + 3

    # -- the stack

    def test_endless_recursion_ends_at_the_documented_depth(self, bench: Bench) -> None:
        """Functions of 4 units: the 65,537th entry is one too many. Each costs 2, entry and call."""
        ended = bench.run("trap_stack_exhausted")

        assert ended.outcome == trapped("stack_exhausted")
        assert ended.gas_used == 2 * (STACK_UNITS // 4 + 1)

    def test_recursion_to_the_last_unit_is_allowed(self, bench: Bench) -> None:
        """_start weighs 4 + 4 on the operand stack. So does each of the n + 1 entries of $down: 4, one
        parameter, 2 on the operand stack, one `if`."""
        deepest = (STACK_UNITS - 8) // 8 - 1
        assert 8 + 8 * (deepest + 1) == STACK_UNITS
        first = 1 + 4 + 1 + (1_000 + 8 + 4) + 3

        allowed = bench.run("recursion", stdin=struct.pack("<I", deepest))
        beyond = bench.run("recursion", stdin=struct.pack("<I", deepest + 1))

        assert allowed.outcome == exited(0)
        assert allowed.gas_used == first + 8 * deepest + 4
        assert beyond.outcome == trapped("stack_exhausted")
        assert beyond.gas_used == first + 8 * (deepest + 1) + 4

    def test_the_native_stack_holds_wide_frames(self, bench: Bench) -> None:
        """3,001 calls, each with 64 values alive across the next, are within the limit.

        Units: 4, a parameter, 64 locals, 2 on the operand stack, one `if`, and 7 for 920 bytes of code.
        """
        assert STACK_UNITS >= 4 + 3_001 * (4 + 1 + 64 + 2 + 1 + 920 // 128)

        assert bench.run("wide_recursion").outcome == exited(0)

    # -- floating point

    def test_results_that_are_nan_are_canonical(self, bench: Bench) -> None:
        stdout = bench.run("nan").stdout

        assert struct.unpack("<22I", stdout[:88]) == (CANONICAL_F32,) * 22
        assert struct.unpack("<22Q", stdout[88:]) == (CANONICAL_F64,) * 22

    def test_results_of_signalling_nans_are_canonical(self, bench: Bench) -> None:
        self.needs("f32-bits")

        stdout = bench.run("nan_bits").stdout

        assert struct.unpack("<18I", stdout[:72]) == (CANONICAL_F32,) * 18
        assert struct.unpack("<18Q", stdout[72:216]) == (CANONICAL_F64,) * 18

    def test_bits_of_nans_are_kept_where_nothing_is_computed(self, bench: Bench) -> None:
        """neg, abs, copysign of -nan:0x200001, reinterpret, select, load; the same but select in f64."""
        self.needs("f32-bits")

        stdout = bench.run("nan_bits").stdout

        assert struct.unpack("<6I", stdout[216:240]) == (
            0x7FA0_0001,
            0x7FA0_0001,
            0xFFA0_0001,
            0xFF80_0001,
            0xFFA0_0001,
            0x7FA0_0001,
        )
        assert struct.unpack("<5Q", stdout[240:]) == (
            0x7FF4_0000_0000_0001,
            0x7FF4_0000_0000_0001,
            0xFFF4_0000_0000_0001,
            0xFFF0_0000_0000_0001,
            0x7FF4_0000_0000_0001,
        )

    def test_results_that_are_nan_are_canonical_in_every_lane(self, bench: Bench) -> None:
        self.needs("simd")

        stdout = bench.run("nan_simd").stdout

        narrow, wide, rest = stdout[: 16 * 17], stdout[16 * 17 : 32 * 17], stdout[32 * 17 :]
        assert struct.unpack("<68I", narrow) == (CANONICAL_F32,) * 68
        assert struct.unpack("<34Q", wide) == (CANONICAL_F64,) * 34
        assert struct.unpack("<2Q4I", rest) == (
            *(CANONICAL_F64,) * 2,
            *(CANONICAL_F32,) * 2,
            0,
            0,
        )

    # -- an entry in place of _start (modules/entry.wat)

    @pytest.mark.parametrize(
        ("entry", "ended", "stdout"),
        [
            ("nothing", exited(0), b"si"),
            ("returns", exited(0), b"sie"),
            ("seven", exited(7), b"sie"),
            ("greatest", exited(2**32 - 1), b"si"),
            ("exits", exited(3), b"si"),
            ("yields", exited(0), b"si"),
            ("a name: é", exited(1), b"si"),
            ("traps", trapped("unreachable"), b"si"),
            ("deep", trapped("stack_exhausted"), b"si"),
        ],
    )
    def test_an_entry_is_called_after_initialize(
        self, bench: Bench, entry: str, ended: Outcome, stdout: bytes
    ) -> None:
        run = bench.run("entry", entry=entry)

        assert (run.outcome, run.stdout) == (ended, stdout)

    def test_calling_an_entry_costs_nothing_of_its_own(self, bench: Bench) -> None:
        """A function that writes costs 1 for its entry, 2 for a constant and a call; $write 1, 5 and the host call."""
        writes = (1 + 2) + (1 + 5) + (1_000 + 8 + 1)

        assert bench.run("entry", entry="nothing").gas_used == 2 * writes + 1
        assert bench.run("entry", entry="seven").gas_used == 3 * writes + 1
        assert bench.run("entry", entry="yields").gas_used == 2 * writes + 1_000

    def test_an_entry_runs_out_of_gas(self, bench: Bench) -> None:
        ended = bench.run("entry", entry="loops", gas=100_000)

        assert (ended.outcome, ended.gas_used) == (OUT_OF_GAS, 100_000)

    # -- determinism

    def test_a_job_ends_the_same_twice(self, bench: Bench) -> None:
        first = bench.run("flood", stdin=struct.pack("<II", 1, 16), gas=500_000)
        again = bench.run("flood", stdin=struct.pack("<II", 1, 16), gas=500_000)

        assert (first.outcome, first.gas_used) == (OUT_OF_GAS, 500_000)
        assert first.receipt.result == again.receipt.result
        assert first.receipt.stdout == again.receipt.stdout
        assert first.stdout == again.stdout
        assert first.receipt.asked.task_digest == again.receipt.asked.task_digest
        assert first.receipt.asked.job_id != again.receipt.asked.job_id
        assert AMPLE.output_bytes == first.receipt.asked.limits.output_bytes
