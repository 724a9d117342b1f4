"""What a host call costs does not hang on what it is not charged for. `benchmarks/host_calls.py` measures the time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from benchmarks.worst_calls import WORST, WORST_WITH_FILES
from plasm_core.sandbox.wasi.abi import FUNCTIONS
from plasm_core.sandbox.wasi.file_calls import FileCalls
from plasm_core.sandbox.wasi.host_job import Strings
from plasm_core.testing.fakes import Step
from tests.sandbox.wasi.test_host import Rig

IOVS, RESULT, BUFFER = 8_192, 60_000, 20_000


def test_every_function_has_worst_arguments_in_the_benchmark() -> None:
    assert WORST.keys() == FUNCTIONS.keys()
    for name, calls in WORST.items():
        assert calls
        assert {len(call.arguments) for call in calls} == {len(FUNCTIONS[name][0])}


def test_every_function_over_files_has_worst_arguments_in_the_benchmark() -> None:
    """A job's files put other functions in the place of the host's: each is measured on its own."""
    over_files = {name for name in FUNCTIONS if hasattr(FileCalls, name)}
    same = {"sock_accept", "sock_recv", "sock_send"}  # as sock_shutdown, they look at the descriptor alone

    assert over_files <= WORST_WITH_FILES.keys() | same
    for name, calls in WORST_WITH_FILES.items():
        assert calls
        steps = [(name, call.arguments) for call in calls]
        steps += [step for call in calls for step in (*call.before, *call.after)]
        assert all(len(arguments) == len(FUNCTIONS[step][0]) for step, arguments in steps)


@pytest.mark.parametrize("strings", [[], [b""], [b"main", b"one", b""], [b"x" * 1_000] * 50, [b""] * 999])
@pytest.mark.parametrize("buffer", [0, 1, 70_000, 2**32 - 60_000])
def test_pointers_to_strings_are_the_same_as_counted_one_by_one(strings: list[bytes], buffer: int) -> None:
    expected, address = [], buffer
    for string in strings:
        expected.append(address)
        address += len(string) + 1

    made = Strings(strings)

    assert made.joined == b"".join(string + b"\0" for string in strings)
    assert made.pointers(buffer) == struct.pack(f"<{len(strings)}I", *expected)
    assert made.pointers(buffer) == made.pointers(buffer)


@pytest.mark.parametrize("name", ["args", "environ"])
def test_sizes_are_counted_without_reading_the_strings(name: str) -> None:
    """The call costs the same however many there are."""

    class Unread(list[int]):
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("the strings were looked at")

    rig = Rig(args=[b"one"] * 99, env=[b"A=1"] * 100)
    strings = rig.job.args if name == "args" else rig.job.env
    strings._lengths = Unread(strings._lengths)

    assert rig.call(f"{name}_sizes_get", 0, 4) == 0
    assert struct.unpack("<II", rig.memory[:8]) == (100, 401 if name == "args" else 400)


def vectors(count: int, length: int) -> bytes:
    return b"".join(struct.pack("<II", BUFFER + 8 * index, length) for index in range(count))


@pytest.mark.parametrize(("count", "length"), [(1, 1), (1_024, 1), (1_000, 8), (1_024, 0), (0, 0)])
def test_what_a_call_writes_goes_out_at_once(count: int, length: int) -> None:
    """A vector costs 8 gas, a message to the daemon far more."""
    rig = Rig(memory=bytes(IOVS) + vectors(count, length))
    for index in range(count):
        rig.memory[BUFFER + 8 * index : BUFFER + 8 * index + length] = struct.pack("<Q", index)[:length]

    assert rig.call("fd_write", 1, IOVS, count, RESULT) == 0

    sent = [step for step in rig.journal if step.what == "output"]
    assert len(sent) == bool(count * length)
    assert rig.output.streams[1] == b"".join(struct.pack("<Q", index)[:length] for index in range(count))


def test_a_read_serves_as_many_vectors_as_it_can() -> None:
    """Standard input gives seven bytes at a time here."""
    rig = Rig(memory=bytes(IOVS) + vectors(1_000, 1), stdin=bytes(index % 251 for index in range(1_000)))

    assert rig.call("fd_read", 0, IOVS, 1_000, RESULT) == 0

    assert [rig.memory[BUFFER + 8 * index] for index in range(1_000)] == [n % 251 for n in range(1_000)]
    assert rig.journal.count(Step("stdin", 7)) == 142
