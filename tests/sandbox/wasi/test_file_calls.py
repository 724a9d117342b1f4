"""The host functions over a job's files: what docs/files.md says of errors, numbers, times, cookies and gas."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core.sandbox.process.tree_packing import bytes_source, directory_source, link_source
from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.endings import Exit, OutOfGas, OutputLimit
from plasm_core.tree_listing import ListingError
from tests.support.file_rig import ALL, DATA, FileRig

CALL = 1_000
COMPONENT = 100
EPOCH_NS = 946_684_800 * 10**9


def rig(**more: Any) -> FileRig:
    sources = [
        directory_source(b"d"),
        bytes_source(b"d/file", b"0123456789"),
        link_source(b"d/link", b"file"),
        link_source(b"d/up", b"../other"),
        link_source(b"loop", b"loop"),
        link_source(b"nowhere", b"missing"),
        bytes_source(b"other", b"other"),
    ]
    return FileRig(sources, **more)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"d/file", 0),
        (b"./d//file", 0),
        (b"d/../d/./file", 0),
        (b"d/link", 0),
        (b"d/up", 0),
        (b"", abi.NOENT),
        (b"/d/file", abi.PERM),
        (b"..", abi.PERM),
        (b"d/../../d/file", abi.PERM),
        (b"d/file/", abi.NOTDIR),
        (b"d/file/.", abi.NOTDIR),
        (b"d/file/x", abi.NOTDIR),
        (b"d/none", abi.NOENT),
        (b"none/x", abi.NOENT),
        (b"loop", abi.LOOP),
        (b"loop/x", abi.LOOP),
        (b"nowhere", abi.NOENT),
        (b"d/\xff", abi.ILSEQ),
        (b"d/\xed\xa0\x80", abi.ILSEQ),
        (b"d/fi\0le", abi.INVAL),
        (b"x" * 256, abi.NAMETOOLONG),
        (b"./" * 2_048 + b"x", abi.NAMETOOLONG),
    ],
)
def test_a_path_leads_where_posix_says_and_never_above_its_directory(path: bytes, code: int) -> None:
    assert rig().open(path)[0] == code


def test_a_descriptor_is_a_root_of_its_own() -> None:
    job = rig()
    _, fd = job.open(b"d", how=abi.OPEN_DIRECTORY, rights=abi.DIRECTORY_RIGHTS, inheriting=ALL)

    assert job.open(b"file", fd=fd)[0] == 0
    assert job.open(b"../other", fd=fd)[0] == abi.PERM
    assert job.open(b"up", fd=fd)[0] == abi.PERM


def test_numbers_and_times_are_functions_of_the_job() -> None:
    job = rig()
    job.call("clock_time_get", abi.CLOCK_MONOTONIC, 0, DATA)
    _, fd = job.open(b"new", how=abi.OPEN_CREATE, rights=ALL)
    _, new = job.stat(b"new")
    _, file = job.stat(b"d/file")
    _, root = job.stat(b".")

    assert fd == 4
    assert (root["inode"], file["inode"], new["inode"]) == (1, 3, 9)
    assert (file["device"], file["kind"], file["links"], file["size"]) == (1, abi_kind("file"), 1, 10)
    assert file["mtim"] == file["atim"] == file["ctim"] == EPOCH_NS
    assert root["mtim"] == new["mtim"] == new["ctim"] == EPOCH_NS + 1_000
    assert root["atim"] == EPOCH_NS


def abi_kind(name: str) -> int:
    return {"directory": 3, "file": 4, "link": 7}[name]


def test_reading_does_not_move_a_time_and_setting_one_does() -> None:
    job = rig()
    _, fd = job.open(b"d/file", rights=ALL)
    job.call("clock_time_get", abi.CLOCK_MONOTONIC, 0, DATA)
    job.read(fd, 4)
    _, before = job.stat(b"d/file")
    assert job.call("fd_filestat_set_times", fd, 7, 8, abi.SET_ATIM | abi.SET_MTIM) == 0
    _, after = job.stat(b"d/file")

    assert (before["atim"], before["ctim"]) == (EPOCH_NS, EPOCH_NS)
    assert (after["atim"], after["mtim"], after["ctim"]) == (7, 8, EPOCH_NS + 1_000)
    assert job.call("fd_filestat_set_times", fd, 0, 0, abi.SET_ATIM | abi.SET_ATIM_NOW) == abi.INVAL


def test_a_directory_is_listed_in_order_of_creation() -> None:
    job = rig()
    for name in (b"z", b"a", b"m"):
        job.path("path_create_directory", name)
    job.rename(b"z", b"y")

    told = job.names(3)

    assert [name for _, _, name in told] == [
        *(b".", b"..", b"d", b"loop", b"nowhere", b"other", b"a", b"m", b"y")
    ]
    assert [cookie for cookie, _, _ in told[:2]] == [1, 2]


def test_cookies_are_stable_while_names_go() -> None:
    """Read one entry at a time and remove each name at once: every name comes exactly once."""
    job = FileRig()
    for number in range(20):
        job.path("path_create_directory", b"d%02d" % number)
    seen, cookie = [], 2
    while told := job.names(3, cookie, 40):
        cookie, _, name = told[0]
        seen.append(name)
        assert job.path("path_remove_directory", name) == 0

    assert seen == [b"d%02d" % number for number in range(20)]


def test_an_open_file_survives_unlinking_and_counts_until_it_is_closed() -> None:
    job = FileRig(data_bytes=10)
    _, fd = job.open(b"a", how=abi.OPEN_CREATE, rights=ALL)
    assert job.write(fd, b"0123456789") == (0, 10)
    assert job.path("path_unlink_file", b"a") == 0
    _, other = job.open(b"b", how=abi.OPEN_CREATE, rights=ALL)

    assert job.write(other, b"x")[0] == abi.NOSPC
    assert job.read(fd, 10, 0) == (0, b"0123456789")
    assert job.call("fd_close", fd) == 0
    assert job.write(other, b"0123456789ab") == (0, 10)


def test_a_file_renamed_over_an_open_one_leaves_that_as_it_was() -> None:
    job = rig()
    _, fd = job.open(b"other")
    assert job.rename(b"d/file", b"other") == 0

    assert job.read(fd, 20) == (0, b"other")
    assert job.open(b"other")[0] == 0
    assert job.left()[b"other"] == b"0123456789"


def test_read_only_files_are_not_changed() -> None:
    job = rig(read_only=[b"d"])
    file = {"rights": abi.RIGHT_FD_WRITE}
    fd = job.open(b"d/file", rights=abi.RIGHT_FD_READ | abi.RIGHT_FD_FILESTAT_SET_TIMES)[1]

    assert job.open(b"d/file", **file)[0] == abi.ROFS
    assert job.open(b"d/file", how=abi.OPEN_TRUNCATE, rights=0)[0] == abi.ROFS
    assert job.open(b"d/new", how=abi.OPEN_CREATE)[0] == abi.ROFS
    assert job.path("path_create_directory", b"d/new") == abi.ROFS
    assert job.path("path_unlink_file", b"d/file") == abi.ROFS
    assert job.symlink(b"x", b"d/new") == abi.ROFS
    assert job.rename(b"d/file", b"x") == job.rename(b"other", b"d/x") == job.rename(b"d", b"e") == abi.ROFS
    assert job.link(b"d/file", b"x") == abi.XDEV
    assert job.call("fd_filestat_set_times", fd, 1, 1, abi.SET_ATIM) == abi.ROFS
    assert job.open(b"d/file")[0] == job.open(b"d", rights=0)[0] == 0


def test_a_directory_of_read_only_ones_is_not_moved() -> None:
    job = FileRig(
        [directory_source(b"a"), directory_source(b"a/b"), directory_source(b"c")], read_only=[b"a/b"]
    )

    assert job.rename(b"a", b"d") == abi.ROFS
    assert job.rename(b"c", b"a/c") == 0


def test_names_cannot_nest_beyond_the_longest_path() -> None:
    job = FileRig()
    fd, depth, name = 3, 0, b"x" * 99
    while job.path("path_create_directory", name, fd=fd) == 0:
        fd, depth = (
            job.open(name, fd=fd, how=abi.OPEN_DIRECTORY, rights=abi.DIRECTORY_RIGHTS, inheriting=ALL)[1],
            depth + 1,
        )

    assert depth == 10
    assert job.path("path_create_directory", b"y" * 24, fd=fd) == 0
    assert max(map(len, job.left())) == 1_024


def test_a_directory_does_not_move_where_its_paths_would_be_too_long() -> None:
    job = FileRig()
    for path in (b"a", b"a/" + b"b" * 250, b"c" * 250, b"c" * 250 + b"/" + b"d" * 250):
        assert job.path("path_create_directory", path) == 0
    deep = b"c" * 250 + b"/" + b"d" * 250 + b"/"
    assert job.path("path_create_directory", deep + b"e" * 250) == 0

    assert job.rename(b"a", deep + b"e" * 250 + b"/" + b"a" * 30) == abi.NAMETOOLONG
    assert job.rename(b"a/" + b"b" * 250, deep + b"e" * 250 + b"/" + b"f" * 255) == 0


def test_a_tree_over_its_limits_is_invalid() -> None:
    with pytest.raises(ListingError, match="limit"):
        rig(entries=6)
    with pytest.raises(ListingError, match="read-only"):
        rig(read_only=[b"e"])


def gas_of(job: FileRig, name: str, *arguments: int) -> int:
    before = job.gas_used
    job.call(name, *arguments)
    return job.gas_used - before


def test_gas_is_what_the_page_says() -> None:
    job = rig()

    def path(name: str, text: bytes, *rest: int) -> int:
        before = job.gas_used
        assert job.path(name, text, *rest) == 0
        return job.gas_used - before

    assert path("path_create_directory", b"d/new") == CALL + 5 + 2 * COMPONENT
    before = job.gas_used
    assert job.stat(b"d/link", follow=1)[0] == 0
    assert job.gas_used - before == CALL + 6 + 2 * COMPONENT + 4 + COMPONENT
    _, fd = job.open(b"d/file", rights=ALL)
    struct.pack_into("<II", job.memory, 40_000, DATA, 5)
    assert gas_of(job, "fd_read", fd, 40_000, 1, 40_008) == CALL + 8 + 5
    # Five bytes at 20: five of them, ten of a gap, ten of the input that are copied.
    assert gas_of(job, "fd_pwrite", fd, 40_000, 1, 20, 40_008) == CALL + 8 + 5 + 10 + 10
    assert gas_of(job, "fd_filestat_set_size", fd, 30) == CALL + 5
    assert gas_of(job, "fd_filestat_set_size", fd, 3) == CALL
    assert gas_of(job, "fd_allocate", fd, 0, 10) == CALL + 7
    assert gas_of(job, "fd_readdir", 3, DATA, 4_096, 0, 40_008) == CALL + 4_096 + 6 * 100
    before = job.gas_used
    assert job.rename(b"d", b"moved") == 0
    assert job.gas_used - before == CALL + 1 + 5 + 2 * COMPONENT + 4 * 100


def test_a_call_that_cannot_be_paid_has_changed_nothing() -> None:
    job = rig(gas=5_000)
    _, fd = job.open(b"other", rights=ALL)
    before = dict(job.left())

    with pytest.raises(OutOfGas):
        job.call("fd_filestat_set_size", fd, 100_000)

    assert job.left() == before


_ARGUMENTS = st.sampled_from(
    [
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        15,
        24,
        255,
        4_096,
        4_097,
        DATA,
        2**18 - 8,
        2**18,
        2**31,
        2**32 - 1,
        2**63,
        2**64 - 1,
    ]
)
_PATHS = st.sampled_from([b"d/file", b"d", b"", b"..", b"\xff", b"loop", b"a", b"a/b", b"d/link", b"\0"])


@settings(max_examples=150, deadline=None)
@given(
    paths=st.tuples(_PATHS, _PATHS),
    calls=st.lists(
        st.tuples(
            st.sampled_from(sorted(set(abi.FUNCTIONS) - {"poll_oneoff", "random_get"})),
            st.lists(_ARGUMENTS, min_size=9, max_size=9),
            st.booleans(),
        ),
        max_size=20,
    ),
)
def test_any_calls_end_with_an_errno_and_a_tree_within_its_limits(
    paths: tuple[bytes, bytes], calls: list[tuple[str, list[int], bool]]
) -> None:
    """A guest passes what it likes: the host answers, and reads and writes inside the memory only."""
    job = rig(data_bytes=5_000, entries=20, descriptors=10)
    for name, arguments, sound in calls:
        job.memory[:16] = paths[0].ljust(16, b"\1")
        types = abi.FUNCTIONS[name][0]
        values = list(arguments[: len(types)])
        if sound and name.startswith("path_") and name != "path_symlink":
            values[0] = 3
        try:
            assert (
                0
                <= job.call(
                    name,
                    *[
                        value % (2**32 if kind == "i" else 2**64)
                        for value, kind in zip(values, types, strict=True)
                    ],
                )
                <= 76
            )
        except (Exit, OutOfGas, OutputLimit):
            break
    left = job.left()

    assert len(left) <= 20
    assert sum(len(data) for data in left.values() if data is not None) <= 5_000 + 15
