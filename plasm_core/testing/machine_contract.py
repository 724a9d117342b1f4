"""What a job sees of its machine, through the engine under test: "The machine a job sees" of docs/determinism.md.

The core does this work; what can go wrong in an engine is how it hands over integers, pointers and memory.
"""

from __future__ import annotations

import hashlib
import struct

import pytest

from plasm_core.testing.bench import OUT_OF_GAS, Bench, exited
from plasm_core.testing.script import (
    ABSOLUTE,
    BADF,
    CLOCK,
    FAULT,
    FD_READ,
    FD_WRITE,
    FUNCTIONS,
    HANGUP,
    INVAL,
    MEMORY_BYTES,
    MONOTONIC,
    NOTCAPABLE,
    NOTDIR,
    NOTSOCK,
    PROCESS_CPUTIME,
    REALTIME,
    SPIPE,
    SUCCESS,
    THREAD_CPUTIME,
    Event,
    Script,
    clock_subscription,
    events_at,
    fd_subscription,
)

EPOCH_NS = 946_684_800_000_000_000
"""2000-01-01T00:00:00Z."""
STEP_NS = 1_000
SECOND_NS = 1_000_000_000

GARBAGE = 0xFFFF_FFF0
READ, WRITE, POLL = 1 << 1, 1 << 6, 1 << 27

PATHS = sorted(name for name in FUNCTIONS if name.startswith("path_"))
SOCKETS = sorted(name for name in FUNCTIONS if name.startswith("sock_"))
DIRECTORY_ARGUMENT = {"path_symlink": 2}
"""Where a path function takes its descriptor, if it is not the first argument."""


def random_stream(seed: bytes, count: int) -> bytes:
    """Return the first bytes of the documented stream."""
    blocks = (
        hashlib.sha256(b"plasm.det/v1 random" + seed + struct.pack("<Q", number)).digest()
        for number in range(count // 32 + 1)
    )
    return b"".join(blocks)[:count]


def garbage_for(name: str, descriptor: int) -> list[int]:
    """Return arguments that are as far off as can be, but for the descriptor."""
    arguments = [GARBAGE if kind == "i" else 2**64 - 16 for kind in FUNCTIONS[name]]
    if name.startswith(("fd_", "path_", "sock_")):
        arguments[DIRECTORY_ARGUMENT.get(name, 0)] = descriptor
    return arguments


class MachineContract:
    """Holds a runtime to what a job may see. Mixed into a class that gives `bench`."""

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

    def test_without_any_there_is_only_the_name(self, bench: Bench) -> None:
        script = Script()
        script.call("args_sizes_get", 0, 4)
        script.call("environ_sizes_get", 8, 12)

        done = bench.play(script)

        assert [done.u32(address) for address in (0, 4, 8, 12)] == [1, 5, 0, 0]

    # -- standard streams

    def test_standard_input_passes_through_unchanged(self, bench: Bench) -> None:
        stdin = bytes(range(256)) * (5 * 1024 * 1024 // 256) + b"\0\r\n\x1a end"

        ended = bench.run("echo", stdin=stdin, output_bytes=8 << 20)

        assert ended.outcome == exited(0)
        assert (ended.stdout == stdin, ended.stderr) == (True, b"")

    def test_no_standard_input_is_an_end_at_once(self, bench: Bench) -> None:
        ended = bench.run("echo")

        assert (ended.outcome, ended.stdout) == (exited(0), b"")

    def test_reads_fill_vectors_in_order_and_overlapping_ones_in_turn(self, bench: Bench) -> None:
        script = Script()
        script.vectors(1024, (0, 4), (0, 0), (2, 4), (100, 3), (200, 50), (MEMORY_BYTES, 0))
        script.call("fd_read", 0, 1024, 3, 16)
        script.call("fd_read", 0, 1024 + 24, 3, 20)
        script.call("fd_read", 0, 1024, 1, 24)
        script.put(24, b"\xff" * 4)

        done = bench.play(script, stdin=b"abcdefghijklmno")

        assert done.errnos == [SUCCESS] * 3
        assert done.memory[:8] == b"abefgh\0\0"
        assert (done.memory[100:104], done.memory[200:206]) == (b"ijk\0", b"lmno\0\0")
        assert [done.u32(address) for address in (16, 20, 24)] == [8, 7, 0]

    def test_writes_take_vectors_in_order_and_each_stream_has_its_own(self, bench: Bench) -> None:
        script = Script(dump_to=1)
        script.put(0, b"0123456789")
        script.vectors(1024, (0, 4), (2, 4), (5, 0), (0, 10), (MEMORY_BYTES, 0))
        script.call("fd_write", 2, 1024, 5, 16)
        script.call("fd_write", 1, 1024, 1, 20)
        script.call("fd_write", 1, 1024, 0, 24)
        script.put(24, b"\xff" * 4)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 3
        assert (done.stdout, done.stderr) == (b"0123", b"012323450123456789")
        assert [done.u32(address) for address in (16, 20, 24)] == [18, 4, 0]

    def test_more_than_1024_vectors_are_invalid(self, bench: Bench) -> None:
        script = Script()
        script.call("fd_write", 1, 0, 1025, 16)
        script.call("fd_read", 0, 0, 1025, 16)
        script.call("fd_write", 1, 0, 0xFFFF_FFFF, 16)
        script.call("fd_write", 1, 1024, 1024, 16)

        assert bench.play(script).errnos == [INVAL, INVAL, INVAL, SUCCESS]

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

    # -- descriptors

    def test_there_are_three_descriptors_with_their_rights(self, bench: Bench) -> None:
        """File type unknown (0), no flags, no rights to inherit."""
        script = Script()
        for fd in range(4):
            script.put(32 * fd, b"\xff" * 24)
            script.call("fd_fdstat_get", fd, 32 * fd)

        done = bench.play(script)

        assert done.errnos == [SUCCESS, SUCCESS, SUCCESS, BADF]
        stats = [struct.unpack_from("<BxHxxxxQQ", done.memory, 32 * fd) for fd in range(3)]
        assert stats == [(0, 0, READ | POLL, 0), (0, 0, WRITE | POLL, 0), (0, 0, WRITE | POLL, 0)]

    def test_rights_can_be_given_up_but_not_regained(self, bench: Bench) -> None:
        script = Script()
        script.call("fd_read", 1, 0, 0, 16)
        script.call("fd_write", 0, 0, 0, 16)
        script.call("fd_fdstat_set_rights", 1, WRITE | POLL | READ, 0)
        script.call("fd_fdstat_set_rights", 1, POLL, WRITE)
        script.call("fd_fdstat_set_rights", 1, POLL, 0)
        script.call("fd_write", 1, 0, 0, 16)
        script.call("fd_fdstat_set_rights", 1, WRITE, 0)
        script.call("fd_fdstat_get", 1, 64)

        done = bench.play(script)

        assert done.errnos == [
            NOTCAPABLE,
            NOTCAPABLE,
            NOTCAPABLE,
            NOTCAPABLE,
            SUCCESS,
            NOTCAPABLE,
            NOTCAPABLE,
            SUCCESS,
        ]
        assert done.u64(64 + 8) == POLL

    def test_a_closed_descriptor_is_gone(self, bench: Bench) -> None:
        script = Script()
        for name, *arguments in (
            ("fd_close", 1),
            ("fd_close", 1),
            ("fd_write", 1, 0, 0, 16),
            ("fd_fdstat_get", 1, 64),
            ("fd_renumber", 1, 0),
            ("fd_renumber", 0, 1),
            ("fd_close", 3),
            ("fd_close", 0xFFFF_FFFF),
        ):
            script.call(str(name), *(int(str(value)) for value in arguments))

        assert bench.play(script).errnos == [SUCCESS, *[BADF] * 7]

    def test_a_renumbered_descriptor_takes_its_stream_and_rights_along(self, bench: Bench) -> None:
        script = Script(dump_to=1)
        script.put(0, b"moved")
        script.vectors(1024, (0, 5), (32, 4))
        script.call("fd_renumber", 2, 0)
        script.call("fd_write", 0, 1024, 1, 16)
        script.call("fd_write", 2, 1024, 1, 16)
        script.call("fd_read", 0, 1024 + 8, 1, 16)
        script.call("fd_renumber", 0, 0)
        script.call("fd_write", 0, 1024, 1, 16)
        script.call("fd_renumber", 0, 9)

        done = bench.play(script, stdin=b"gone")

        assert done.errnos == [SUCCESS, SUCCESS, BADF, NOTCAPABLE, SUCCESS, SUCCESS, BADF]
        assert (done.stdout, done.stderr) == (b"", b"movedmoved")

    def test_nothing_can_be_sought(self, bench: Bench) -> None:
        script = Script()
        for fd in range(3):
            script.call("fd_seek", fd, 0, 0, 16)
            script.call("fd_tell", fd, 16)
            script.call("fd_pread", fd, 0, 0, 0, 16)
            script.call("fd_pwrite", fd, 0, 0, 0, 16)

        assert bench.play(script).errnos == [SPIPE] * 12

    def test_there_is_no_preopened_directory(self, bench: Bench) -> None:
        script = Script()
        for fd in range(5):
            script.call("fd_prestat_get", fd, 0)
            script.call("fd_prestat_dir_name", fd, 0, 0)

        assert bench.play(script).errnos == [BADF] * 10

    @pytest.mark.parametrize("descriptor", [0, 1, 2, 3, GARBAGE])
    def test_paths_and_sockets_lead_nowhere(self, bench: Bench, descriptor: int) -> None:
        """The three descriptors are no directories and no sockets; others are none at all."""
        script = Script()
        for name in (*PATHS, *SOCKETS):
            arguments = [0] * len(FUNCTIONS[name])
            arguments[DIRECTORY_ARGUMENT.get(name, 0)] = descriptor
            script.call(name, *arguments)

        expected = [NOTDIR] * len(PATHS) + [NOTSOCK] * len(SOCKETS)
        assert bench.play(script).errnos == (expected if descriptor < 3 else [BADF] * len(expected))

    @pytest.mark.parametrize("descriptor", [0, 1, 2, GARBAGE])
    def test_every_function_survives_garbage(self, bench: Bench, descriptor: int) -> None:
        """Each answers with an errno; those that would have written there, with fault."""
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
        """An engine that hands over signed integers makes of them offsets before the memory."""
        arguments = {
            "clock_res_get": (0, GARBAGE),
            "clock_time_get": (0, 2**64 - 1, GARBAGE),
            "poll_oneoff": (GARBAGE, GARBAGE, 1, GARBAGE),
        }
        script = Script()
        script.call(name, *arguments[name])

        assert bench.play(script).errnos == [FAULT]

    # -- clocks

    def test_clocks_start_at_their_documented_times_and_tick_when_read(self, bench: Bench) -> None:
        """One virtual time for all: each read, of whichever clock, is 1 µs after the last."""
        clocks = [REALTIME, MONOTONIC, PROCESS_CPUTIME, THREAD_CPUTIME, REALTIME, MONOTONIC]
        script = Script()
        for number, clock in enumerate(clocks):
            script.call("clock_time_get", clock, 2**64 - 1, 8 * number)
        script.call("clock_time_get", 4, 0, 128)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 6 + [INVAL]
        assert [done.u64(8 * number) for number in range(6)] == [
            EPOCH_NS,
            STEP_NS,
            2 * STEP_NS,
            3 * STEP_NS,
            EPOCH_NS + 4 * STEP_NS,
            5 * STEP_NS,
        ]

    def test_the_resolution_is_a_microsecond_and_asking_takes_no_time(self, bench: Bench) -> None:
        script = Script()
        for clock in range(4):
            script.call("clock_res_get", clock, 8 * clock)
        script.call("clock_res_get", 4, 64)
        script.call("clock_time_get", MONOTONIC, 0, 32)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 4 + [INVAL, SUCCESS]
        assert [done.u64(8 * number) for number in range(5)] == [STEP_NS] * 4 + [0]

    # -- polling

    def test_waiting_for_a_clock_makes_time_jump_to_its_deadline(self, bench: Bench) -> None:
        """A relative deadline counts from the call, which takes no time itself."""
        script = Script()
        script.call("clock_time_get", MONOTONIC, 0, 0)
        script.put(1024, clock_subscription(77, MONOTONIC, 5 * SECOND_NS))
        script.call("poll_oneoff", 1024, 2048, 1, 8)
        script.call("clock_time_get", REALTIME, 0, 16)

        done = bench.play(script)

        assert done.errnos == [SUCCESS] * 3
        assert done.u32(8) == 1
        assert events_at(done, 2048, 1) == [Event(userdata=77, error=0, kind=CLOCK, nbytes=0, flags=0)]
        assert done.u64(16) == EPOCH_NS + STEP_NS + 5 * SECOND_NS

    def test_an_absolute_deadline_is_a_time_of_its_clock(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, clock_subscription(1, REALTIME, EPOCH_NS + 3 * SECOND_NS, flags=ABSOLUTE))
        script.put(1072, clock_subscription(2, THREAD_CPUTIME, 7 * SECOND_NS, flags=ABSOLUTE))
        script.put(1120, clock_subscription(3, REALTIME, 0, flags=ABSOLUTE))
        for number in range(3):
            script.call("poll_oneoff", 1024 + 48 * number, 2048 + 32 * number, 1, 8)
            script.call("clock_time_get", MONOTONIC, 0, 16 + 8 * number)

        done = bench.play(script)

        assert [event.userdata for event in events_at(done, 2048, 3)] == [1, 2, 3]
        assert [done.u64(16 + 8 * number) for number in range(3)] == [
            3 * SECOND_NS,
            7 * SECOND_NS,
            7 * SECOND_NS + STEP_NS,
        ]

    def test_of_several_clocks_those_due_are_reported_in_order(self, bench: Bench) -> None:
        timeouts = [9, 4, 6, 4]
        script = Script()
        for number, timeout in enumerate(timeouts):
            script.put(1024 + 48 * number, clock_subscription(number, MONOTONIC, timeout * SECOND_NS))
        script.call("poll_oneoff", 1024, 2048, 4, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script)

        assert done.u32(8) == 2
        assert [event.userdata for event in events_at(done, 2048, 2)] == [1, 3]
        assert done.u64(16) == 4 * SECOND_NS

    def test_descriptors_are_ready_at_once_and_time_stands_still(self, bench: Bench) -> None:
        """Clocks are reported beside them only if they are due; nbytes and hangup are WASI's."""
        script = Script(dump_to=1)
        script.call("fd_close", 2)
        asked = [
            clock_subscription(1, MONOTONIC, SECOND_NS),
            fd_subscription(2, FD_WRITE, 1),
            clock_subscription(3, MONOTONIC, 0),
            fd_subscription(4, FD_READ, 0),
            fd_subscription(5, FD_READ, 2),
            fd_subscription(2**64 - 1, FD_WRITE, 0xFFFF_FFFF),
        ]
        script.put(1024, b"".join(asked))
        script.call("poll_oneoff", 1024, 2048, 6, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script, stdin=b"seven..")

        assert done.u32(8) == 5
        events = events_at(done, 2048, 5)
        assert [(event.userdata, event.kind, event.error) for event in events] == [
            (2, FD_WRITE, SUCCESS),
            (3, CLOCK, SUCCESS),
            (4, FD_READ, SUCCESS),
            (5, FD_READ, BADF),
            (2**64 - 1, FD_WRITE, BADF),
        ]
        assert (events[2].nbytes, events[2].flags) == (7, 0)
        assert done.u64(16) == 0

    def test_a_bad_descriptor_alone_is_an_event_too(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, fd_subscription(1, FD_READ, 3) + clock_subscription(2, MONOTONIC, 1))
        script.call("poll_oneoff", 1024, 2048, 2, 8)
        script.call("clock_time_get", MONOTONIC, 0, 16)

        done = bench.play(script)

        assert done.u32(8) == 1
        assert events_at(done, 2048, 1)[0] == Event(userdata=1, error=BADF, kind=FD_READ, nbytes=0, flags=0)
        assert done.u64(16) == 0

    def test_standard_input_at_its_end_has_hung_up(self, bench: Bench) -> None:
        script = Script()
        script.put(1024, fd_subscription(1, FD_READ, 0))
        script.call("poll_oneoff", 1024, 2048, 1, 8)

        done = bench.play(script)

        assert events_at(done, 2048, 1) == [Event(userdata=1, error=0, kind=FD_READ, nbytes=0, flags=HANGUP)]

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
