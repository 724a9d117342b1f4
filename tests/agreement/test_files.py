"""Jobs with files come to the same on every engine that runs them: outcome, gas, output and every file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from plasm_core.client.file_tree import FileTree
from plasm_core.errors import RefusedError
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Limits, manifest_for, sha256
from plasm_core.records.files import FileLimits
from plasm_core.records.output import OutputStream
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.wasi import abi
from plasm_core.testing.bench import module_named
from plasm_core.testing.script import MAX_CALLS, Script, ScriptOutcome
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration, missing

LIMITS = FileLimits(data_bytes=5_000, entries=40, descriptors=12)
AMPLE = Limits(gas=100_000_000, memory_bytes=1 << 20, output_bytes=1 << 20)
INSTRUCTIONS = 208
"""What plasm_core/testing/modules/files.wat executes of its own, host calls left out, when it copies in one piece."""
ALL = abi.DIRECTORY_RIGHTS | abi.FILE_RIGHTS


@attrs.frozen(kw_only=True)
class Ended:
    """What two engines must agree on."""

    outcome: str
    gas_used: int
    stdout: bytes
    stderr: bytes
    products: tuple[tuple[str, str], ...]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


def tree() -> FileTree:
    found = FileTree()
    found.add_bytes(bytes(range(256)) * 10, "in/data")
    found.add_bytes(b"second", "in/more")
    found.add_bytes(b"second", "in/twin")
    for name in ("out", "tmp"):
        found.make_directory(name)
    return found


def run(
    node: LocalNode,
    engine: str,
    module: str,
    *,
    stdin: bytes = b"",
    outputs: tuple[str, ...] = ("out",),
    limits: FileLimits = LIMITS,
    gas: int = AMPLE.gas,
) -> Ended:
    """Run a module of plasm_core/testing/modules over `tree`."""
    code, made, inputs = module_named(module), tree(), JobInput(stdin=stdin)
    with made.pack() as pack:
        manifest = manifest_for(
            code,
            inputs,
            limits=attrs.evolve(AMPLE, gas=gas),
            files=attrs.evolve(made.asked(pack, outputs=outputs, limits=limits), read_only=("in/more",)),
        )
        streams = {stream: bytearray() for stream in OutputStream}

        def take(stream: OutputStream, data: bytes) -> None:
            streams[stream] += data

        done = execute(*(node, manifest, lambda: code, inputs, PassedOn(take)), runtime=engine, files=pack)
    left = done.files
    assert left is not None
    files = {
        f"{path}/{item.entry.path.decode()}": b"".join(left.read(item))
        for path in outputs
        for item in left.entries(path)
    }
    products = tuple((item.subject, item.sha256) for item in left.digests)
    left.close()
    return Ended(
        outcome=str(done.run.outcome),
        gas_used=done.run.gas_used,
        stdout=bytes(streams[OutputStream.STDOUT]),
        stderr=bytes(streams[OutputStream.STDERR]),
        products=products,
        files=files,
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_copies_its_files(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files")

    data = bytes(range(256)) * 10
    assert ended.outcome == "exited with code 0"
    assert ended.stdout == b"\0"  # what it makes of in/data is its own copy
    assert ended.files == {"out/": b"", "out/copy": data, "out/sub": b"", "out/sub/length": b"\0\x0a\0\0"}
    assert ended.products == (
        ("tree:out", "c396a3b6d446d24ea4d411a1fdc121cea31d2b8e1d145d4a904a4abe202658f6"),
    )
    opens, moves = 2 * 1_207 + 1_208 + 1_314, 2 * (1_008 + 2_560) + 1_008 + 1_012 + 1_009
    assert ended.gas_used == opens + moves + 1_207 + 1_000 + INSTRUCTIONS  # mkdir and close


@pytest.mark.parametrize("engine", ENGINES)
def test_what_it_wrote_before_its_quota_was_reached_is_left(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files", limits=attrs.evolve(LIMITS, data_bytes=2_000))

    assert ended.outcome == "exited with code 51"
    assert ended.files == {
        "out/": b"",
        "out/copy": (bytes(range(256)) * 10)[:2_000],
        "out/sub": b"",
        "out/sub/length": b"",
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_out_of_gas_leaves_what_it_wrote(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files", gas=2_000)

    assert (ended.outcome, ended.gas_used) == ("out of gas", 2_000)
    assert ended.files == {"out/": b"", "out/sub": b""}


def script() -> Script:
    """Return a corpus of calls: creation orders, readdir during deletion, truncation, links, times, a full quota."""
    made = Script()
    made.put(0x4000, bytes(range(256)) * 8)
    made.vectors(0x3000, (0x4000, 2_000), (0x4000, 24))
    made.vectors(0x3010, (0x5000, 700), (0x6000, 700))
    at = 0x100

    def text(data: bytes) -> tuple[int, int]:
        nonlocal at
        made.put(at, data)
        at += len(data)
        return at - len(data), len(data)

    def call(name: str, *arguments: Any) -> None:
        flat = [value for item in arguments for value in (item if isinstance(item, tuple) else (item,))]
        made.call(name, *flat)

    a, b, c, link, sub = (text(name) for name in (b"out/a", b"out/b", b"out/c", b"out/link", b"out/sub/"))
    data, more, loop, dots, bad = (text(name) for name in (b"in/data", b"in/more", b"loop", b"../x", b"\xff"))
    call("fd_prestat_get", 3, 0x40)
    call("fd_prestat_dir_name", 3, 0x50, 1)
    call("path_open", 3, 1, a, 1, ALL & ~64 | 64, ALL, 0, 0x60)  # 4
    call("path_open", 3, 1, b, 5, ALL, ALL, 1, 0x64)  # 5, appending
    call("fd_write", 4, 0x3000, 2, 0x68)
    call("fd_write", 5, 0x3000, 1, 0x6C)
    call("clock_time_get", 0, 0, 0x70)
    call("fd_seek", 4, 3_000, 0, 0x78)
    call("fd_write", 4, 0x3000, 2, 0x80)  # the quota is reached half-way
    call("fd_write", 4, 0x3000, 1, 0x84)  # and now there is no room
    call("fd_filestat_set_size", 4, 100)
    call("path_filestat_get", 3, 0, a, 0x800)
    call("path_link", 3, 0, a, 3, c)
    call("path_filestat_get", 3, 0, c, 0x840)
    call("path_rename", 3, b, 3, a)
    call("fd_filestat_get", 4, 0x880)
    call("path_symlink", text(b"sub/../a"), 3, link)
    call("path_create_directory", 3, sub)
    call("path_open", 3, 1, link, 0, abi.RIGHT_FD_READ, 0, 0, 0x88)  # 6
    call("fd_read", 6, 0x3010, 2, 0x8C)
    call("fd_pread", 6, 0x3010, 1, 1_990, 0x90)
    call("path_open", 3, 1, more, 8, ALL & ~abi.DIRECTORY_RIGHTS, 0, 0, 0x94)
    call("path_open", 3, 0, data, 0, abi.FILE_RIGHTS, 0, 0, 0x94)  # 7
    call("fd_pwrite", 7, 0x3010, 1, 5, 0x98)
    call("path_symlink", text(b"loop"), 3, loop)
    for path in (loop, dots, bad, text(b"/a"), text(b"in/data/"), text(b"in/none")):
        call("path_filestat_get", 3, 1, path, 0x8C0)
    call("path_open", 3, 1, text(b"out"), 2, abi.DIRECTORY_RIGHTS, ALL, 0, 0x9C)  # 8
    call("fd_readdir", 8, 0x900, 60, 0, 0xA0)
    call("path_unlink_file", 8, text(b"c"))
    call("fd_readdir", 8, 0x980, 300, 2, 0xA4)
    call("path_readlink", 8, text(b"link"), 0xB00, 5, 0xA8)
    call("fd_renumber", 8, 5)
    call("fd_fdstat_get", 5, 0xB20)
    call("path_remove_directory", 5, text(b"sub"))
    call("path_filestat_set_times", 5, 0, text(b"a"), 1, 2, 5)
    call("path_filestat_get", 5, 0, text(b"a"), 0xB40)
    call("fd_allocate", 7, 0, 2_600)
    call("fd_tell", 4, 0xB80)
    call("path_rename", 3, text(b"out"), 3, text(b"out/sub/x"))
    call("path_rename", 3, text(b"tmp"), 3, text(b"out/t"))
    call("fd_advise", 7, 0, 10, 5)
    call("fd_sync", 7)
    call("sock_shutdown", 7, 0)
    for name in (b"1", b"2", b"3", b"4"):
        call("path_open", 5, 0, text(name), 1, 0, 0, 0, 0xBC)
    call("fd_close", 4)
    call("fd_close", 4)
    return made


NOTED = {
    **{8: abi.NOSPC, 9: abi.NOSPC, 20: abi.NOTCAPABLE, 21: abi.ROFS},
    **{25: abi.LOOP, 26: abi.PERM, 27: abi.ILSEQ, 28: abi.PERM, 29: abi.NOTDIR, 30: abi.NOENT},
    **{43: abi.NOENT, 47: abi.NOTSOCK, 53: abi.BADF},
}
"""The calls of the script that fail, by their position, with what docs/files.md says of them."""


def play(node: LocalNode, engine: str) -> tuple[Ended, ScriptOutcome]:
    made = script()
    ended = run(node, engine, "calls", stdin=made.image(), outputs=("in", "out"))
    assert ended.outcome == "exited with code 0"
    return ended, made.done(ended.stdout, ended.stderr)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_corpus_of_calls_ends_as_recorded(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended, done = play(node, engine)

    assert {index: errno for index, errno in enumerate(done.errnos) if errno} == NOTED
    assert ended.gas_used == 339_183
    assert sha256(done.memory) == "d7e6abb17b3be192185b7928e78f4b30f7b0b264a07b24992fcd2c6b4ee4bfc3"
    assert dict(ended.products) == {
        "tree:in": "f8f5918154f7a9c38fa6161cf099a9ffda3038af1ce93230956e39aa6f670f51",
        "tree:out": "d076c9ed184cc4285d1066f97c2860a030b174baf07f20ccb96a1f1082aeaf96",
    }


PATHS = (
    b"a",
    b"b",
    b"a/b",
    b"a/c",
    b"out",
    b"out/x",
    b"in/data",
    b"in/more",
    b"in",
    b"tmp/../a",
    b"l",
    b"a/l",
    b"../x",
)
TARGETS = (b"a", b"in/data", b"..", b"../in", b"a/", b"/a", b"l")
NUMBERS = (0, 1, 2, 5, 100, 700, 2_600, 4_999, 5_000, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def random_script(seed: int) -> Script:
    """Return calls with arguments as a guest may pass them: mostly sound, over few names and descriptors."""
    draw, made = random.Random(seed), Script()
    places = {}
    at = 0x100
    for text in (*PATHS, *TARGETS, b"\xff", b"n\0l", b"x" * 256):
        made.put(at, text)
        places[text] = (at, len(text))
        at += len(text)
    made.put(0x4000, draw.randbytes(0x2000))
    made.vectors(0x3000, (0x4000, 700), (0x5000, 1_300), (0x4100, 0), (0x4800, 40))

    def path() -> tuple[int, int]:
        return places[draw.choice(list(places) if draw.random() < 0.05 else PATHS)]

    def argument(name: str, index: int, kind: str) -> int:
        return (
            draw.choice(NUMBERS) if kind == "I" or draw.random() < 0.1 else draw.choice((0, 1, 2, 4, 5, 8, 9))
        )

    for number in range(MAX_CALLS - 1):
        name = draw.choice(FILE_FUNCTIONS)
        types = abi.FUNCTIONS[name][0]
        values = [argument(name, index, kind) for index, kind in enumerate(types)]
        values[0] = draw.choice((4, 4, 4, 5, 5, 6, 7, 3))
        if name in ("fd_close", "fd_renumber"):
            values = [draw.choice((4, 5, 6, 7, 8)), 5][: len(types)]
        result = 0x800 + 16 * (number % 64)
        if name in ("fd_read", "fd_write"):
            values[1:] = [0x3000, draw.choice((1, 2, 4)), result]
        elif name in ("fd_pread", "fd_pwrite"):
            values[1:] = [0x3000, draw.choice((1, 2, 4)), values[3], result]
        elif name in ("fd_seek", "fd_tell", "fd_filestat_get", "fd_fdstat_get"):
            values[-1] = result
        elif name == "fd_readdir":
            values[1:] = [0x1000, draw.choice((10, 60, 500)), draw.choice((0, 1, 2, 9, 30)), result]
        elif name == "path_open":
            rights = draw.choice((ALL & ~64, 64, ALL, 2))
            values = [
                3,
                draw.choice((0, 1)),
                *path(),
                draw.choice((0, 0, 1, 1, 2, 5, 8, 9)),
                rights,
                ALL,
                0,
                result,
            ]
        elif name == "path_symlink":
            values = [*places[draw.choice(TARGETS)], 3, *path()]
        elif name == "path_readlink":
            values = [3, *path(), 0x1800, draw.choice((0, 3, 100)), result]
        elif name == "path_rename":
            values = [3, *path(), 3, *path()]
        elif name == "path_link":
            values = [3, draw.choice((0, 0, 1)), *path(), 3, *path()]
        elif name in ("path_filestat_get", "path_filestat_set_times"):
            values[:4] = [3, draw.choice((0, 1)), *path()]
            values[4:] = [result] if name == "path_filestat_get" else [5, 6, draw.choice((0, 1, 3, 5, 10))]
        elif name.startswith("path_"):
            values = [3, *path()]
        made.call(name, *values)
    return made


FILE_FUNCTIONS = (
    sorted(
        name
        for name in abi.FUNCTIONS
        if name.startswith(("fd_", "path_")) and name not in ("fd_fdstat_set_rights", "fd_prestat_dir_name")
    )
    + ["path_open"] * 12
    + ["path_open", "path_create_directory", "fd_write", "path_rename"] * 3
)


@pytest.mark.parametrize("seed", range(6))
def test_engines_agree_on_calls_at_random(node: LocalNode, seed: int) -> None:
    """The two hosts, in Python and in JavaScript, are written apart: what one gets wrong the other tells."""
    made = random_script(seed)
    seen = {}
    for engine in ENGINES:
        if not missing(engine):
            ended = run(node, engine, "calls", stdin=made.image(), outputs=("a", "in", "out"))
            assert ended.outcome == "exited with code 0"
            seen[engine] = (ended, made.done(ended.stdout, ended.stderr))

    (_, first), *others = seen.items()
    assert first[1].errnos.count(0) > 50
    for engine, found in others:
        assert found == first, engine


def test_files_that_are_not_the_manifests_are_refused(node: LocalNode) -> None:
    code, made = module_named("files"), tree()
    with made.pack() as pack:
        manifest = manifest_for(code, JobInput(), files=made.asked(pack))
        given: list[FilePack | None] = [None]
        with FileTree().pack() as other:
            given.append(other)
            for wrong in given:
                with pytest.raises(RefusedError) as caught:
                    execute(*(node, manifest, lambda: code, JobInput(), PassedOn()), files=wrong)
                assert caught.value.reason == "digest_mismatch"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"limits": attrs.evolve(LIMITS, entries=3)}, "limit_too_low"), ({"read_only": ("none",)}, "bad_files")],
)
def test_files_that_exceed_the_manifest_are_refused(
    node: LocalNode, changes: dict[str, Any], reason: str
) -> None:
    code, made = module_named("files"), tree()
    with made.pack() as pack:
        manifest = manifest_for(code, JobInput(), files=attrs.evolve(made.asked(pack), **changes))
        with pytest.raises(RefusedError) as caught:
            execute(*(node, manifest, lambda: code, JobInput(), PassedOn()), files=pack)

    assert caught.value.reason == reason
