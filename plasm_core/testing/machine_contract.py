"""The contract of a job's machine, through the engine under test: strings, memory, randomness.

With the contracts of descriptors and clocks it covers "The machine a job sees" of docs/determinism.md. The core
implements the machine; an engine can only pass integers, pointers and memory wrongly.
"""

from __future__ import annotations

import hashlib
import struct

import pytest

from plasm_core.testing.bench import OUT_OF_GAS, Bench
from plasm_core.testing.clock_contract import ClockContract
from plasm_core.testing.descriptor_contract import DIRECTORY_ARGUMENT, GARBAGE, DescriptorContract
from plasm_core.testing.script import (
    FAULT,
    FD_READ,
    FUNCTIONS,
    MEMORY_BYTES,
    NOTCAPABLE,
    REALTIME,
    SUCCESS,
    Script,
    clock_subscription,
    fd_subscription,
)


def random_stream(seed: bytes, count: int) -> bytes:
    """Return the first bytes of the random stream that docs/determinism.md specifies."""
    blocks = (
        hashlib.sha256(b"plasm.det/v1 random" + seed + struct.pack("<Q", number)).digest()
        for number in range(count // 32 + 1)
    )
    return b"".join(blocks)[:count]


def garbage_for(name: str, descriptor: int) -> list[int]:
    """Return invalid arguments for a host function: every argument but the descriptor is as wrong as possible."""
    arguments = [GARBAGE if kind == "i" else 2**64 - 16 for kind in FUNCTIONS[name]]
    if name.startswith(("fd_", "path_", "sock_")):
        arguments[DIRECTORY_ARGUMENT.get(name, 0)] = descriptor
    return arguments


class MachineContract(DescriptorContract, ClockContract):
    """Tests everything that a job can observe of its machine. A mixin for a class with the fixture `bench`."""

    # -- arguments and environment

    def test_arguments_and_environment_are_the_manifests(self, bench: Bench) -> None:
        args, env = (b"", b"two words", b"\xff\xfe"), (b"A=1", b"EMPTY=", b"B=\xe2\x82\xac")
        script = Script()
        script.call("args_sizes_get", 0, 4)
        script.call("args_get", 16, 256)
        script.call("environ_sizes_get", 8, 12)
        script.call("environ_get", 512, 768)

        done = bench.play(script, args=args, env=env)

        assert done.errnos == [SUCCESS] * 4
        argv = b"main\0\0two words\0\xff\xfe\0"
        environ = b"A=1\0EMPTY=\0B=\xe2\x82\xac\0"
        assert [done.u32(address) for address in (0, 4, 8, 12)] == [4, len(argv), 3, len(environ)]
        assert done.memory[256 : 256 + len(argv)] == argv
        assert struct.unpack_from("<4I", done.memory, 16) == (256, 261, 262, 272)
        assert done.memory[768 : 768 + len(environ)] == environ
        assert struct.unpack_from("<3I", done.memory, 512) == (768, 772, 779)

    def test_without_arguments_a_job_sees_only_its_name(self, bench: Bench) -> None:
        script = Script()
        script.call("args_sizes_get", 0, 4)
        script.call("environ_sizes_get", 8, 12)

        done = bench.play(script)

        assert [done.u32(address) for address in (0, 4, 8, 12)] == [1, 5, 0, 0]

    # -- pointers and garbage

    def test_pointers_reach_to_the_last_byte_and_no_further(self, bench: Bench) -> None:
        end = MEMORY_BYTES
        script = Script()
        script.put(end - 40, b"twenty-four bytes there.")
        script.vectors(0, (end - 40, 24), (end - 16, 17), (end - 1, 0xFFFF_FFFF))
        cases = [
            (("fd_write", 1, end - 8, 1, 16), SUCCESS),
            (("fd_write", 1, 0, 1, end - 4), SUCCESS),
            (("fd_write", 1, 0, 1, end - 3), FAULT),
            (("fd_write", 1, 0, 2, 16), FAULT),
            (("fd_write", 1, 16, 1, 16), FAULT),
            (("fd_write", 1, end - 7, 1, 16), FAULT),
            (("fd_read", 0, 0, 2, 16), FAULT),
            (("clock_time_get", 0, 0, end - 8), SUCCESS),
            (("clock_time_get", 0, 0, end - 7), FAULT),
            (("clock_time_get", 0, 0, 0xFFFF_FFFF), FAULT),
            (("clock_res_get", 0, end - 7), FAULT),
            (("random_get", end - 8, 8), SUCCESS),
            (("random_get", end - 8, 9), FAULT),
            (("random_get", 0, end + 1), FAULT),
            (("args_sizes_get", end - 4, 16), SUCCESS),
            (("args_sizes_get", end - 3, 16), FAULT),
            (("args_sizes_get", 16, end - 3), FAULT),
            (("args_get", end - 4, 16), SUCCESS),
            (("args_get", end - 3, 16), FAULT),
            (("args_get", 16, end - 5), SUCCESS),
            (("args_get", 16, end - 4), FAULT),
            (("fd_fdstat_get", 0, end - 24), SUCCESS),
            (("fd_fdstat_get", 0, end - 23), FAULT),
            (("fd_filestat_get", 0, end - 63), FAULT),
            (("poll_oneoff", end - 47, 0, 1, 16), FAULT),
            (("poll_oneoff", 1024, end - 31, 1, 16), FAULT),
            (("poll_oneoff", 1024, 2048, 1, end - 3), FAULT),
        ]
        for (name, *arguments), _ in cases:
            script.call(str(name), *(int(value) for value in arguments))

        done = bench.play(script)

        assert done.errnos == [expected for _, expected in cases]
        assert done.stdout == b"twenty-four bytes there."

    @pytest.mark.parametrize("descriptor", [0, 1, 2, GARBAGE])
    def test_every_function_survives_garbage(self, bench: Bench, descriptor: int) -> None:
        """Each call returns an errno; calls that would write to memory return fault."""
        names = sorted(set(FUNCTIONS) - {"proc_exit"})
        faulting = {
            "args_get",
            "args_sizes_get",
            "environ_get",
            "environ_sizes_get",
            "random_get",
        }
        if descriptor < 3:
            faulting |= {"fd_fdstat_get", "fd_filestat_get"}
        script = Script(dump_to=2 if descriptor == 1 else 1)
        calls = [name for name in names if name != "fd_close"]
        for name in calls:
            script.call(name, *garbage_for(name, descriptor))

        done = bench.play(script, gas=2**53 - 1, env=(b"A=1",))

        failed = {name: errno for name, errno in zip(calls, done.errnos, strict=True) if errno != SUCCESS}
        assert set(calls) - set(failed) <= {"sched_yield"}
        assert {name for name, errno in failed.items() if errno == FAULT} >= faulting
        assert all(errno <= NOTCAPABLE for errno in failed.values())

    @pytest.mark.parametrize("name", ["clock_res_get", "clock_time_get", "poll_oneoff"])
    def test_pointers_are_unsigned(self, bench: Bench, name: str) -> None:
        """An engine that passes signed integers would turn them into offsets before the memory."""
        arguments = {
            "clock_res_get": (0, GARBAGE),
            "clock_time_get": (0, 2**64 - 1, GARBAGE),
            "poll_oneoff": (GARBAGE, GARBAGE, 1, GARBAGE),
        }
        script = Script()
        script.call(name, *arguments[name])

        assert bench.play(script).errnos == [FAULT]

    # -- randomness

    @pytest.mark.parametrize("seed", [bytes(32), bytes(range(32))])
    def test_random_bytes_are_the_documented_stream(self, bench: Bench, seed: bytes) -> None:
        lengths = [5, 27, 0, 32, 33, 1, 1000]
        script = Script()
        at = 0
        for length in lengths:
            script.call("random_get", at, length)
            at += length

        done = bench.play(script, seed=seed)

        assert done.errnos == [SUCCESS] * len(lengths)
        assert done.memory[:at] == random_stream(seed, at)
        assert done.memory[at : at + 64] == bytes(64)

    def test_a_huge_request_is_charged_before_it_is_looked_at(self, bench: Bench) -> None:
        script = Script()
        script.call("random_get", 0, 0xFFFF_FFFF)

        poor = bench.run("calls", stdin=script.image(), gas=1_000_000_000)

        assert (poor.outcome, poor.gas_used) == (OUT_OF_GAS, 1_000_000_000)
        assert poor.stderr == b""
        assert bench.play(script, gas=10_000_000_000).errnos == [FAULT]

    # -- the rest

    def test_a_script_that_uses_all_of_it_ends_the_same_twice(self, bench: Bench) -> None:
        script = Script()
        script.put(4096, b"hello")
        script.vectors(1024, (4096, 5), (0, 4096))
        script.put(2048, clock_subscription(1, REALTIME, 12_345) + fd_subscription(2, FD_READ, 0))
        for _ in range(3):
            script.call("random_get", 0, 100)
            script.call("clock_time_get", REALTIME, 0, 200)
            script.call("fd_write", 1, 1024, 2, 16)
            script.call("poll_oneoff", 2048, 300, 2, 400)
            script.call("args_get", 500, 600)

        first, again = (bench.play(script, args=(b"x",), stdin=b"rest", seed=b"s" * 32) for _ in range(2))

        assert first == again
        assert first.errnos == [SUCCESS] * 15
