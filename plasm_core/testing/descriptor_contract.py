"""The contract of descriptors, through the engine under test: three streams, no file, no socket.

From "The machine a job sees" of docs/determinism.md.
"""

from __future__ import annotations

import struct

import pytest

from plasm_core.testing.bench import Bench, exited
from plasm_core.testing.script import (
    BADF,
    FUNCTIONS,
    INVAL,
    MEMORY_BYTES,
    NOTCAPABLE,
    NOTDIR,
    NOTSOCK,
    SPIPE,
    SUCCESS,
    Script,
)

GARBAGE = 0xFFFF_FFF0
READ, WRITE, POLL = 1 << 1, 1 << 6, 1 << 27

PATHS = sorted(name for name in FUNCTIONS if name.startswith("path_"))
SOCKETS = sorted(name for name in FUNCTIONS if name.startswith("sock_"))
DIRECTORY_ARGUMENT = {"path_symlink": 2}
"""Where a path function takes its descriptor, if it is not the first argument."""


class DescriptorContract:
    """Tests the file descriptors that a runtime gives to jobs. A mixin for a class with the fixture `bench`."""

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

    # -- rights and places

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
