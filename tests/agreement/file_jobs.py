"""Jobs with files for the agreement of engines and for the vectors: a tree, scripts of calls, and how one is run."""

from __future__ import annotations

import random
from typing import Any

import attrs

from plasm_core.client.file_tree import FileTree
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Limits, Manifest, manifest_for
from plasm_core.records.files import FileLimits
from plasm_core.records.output import OutputStream
from plasm_core.sandbox.wasi import abi
from plasm_core.testing.bench import module_named
from plasm_core.testing.script import MAX_CALLS, Script

LIMITS = FileLimits(data_bytes=5_000, entries=40, descriptors=12)
AMPLE = Limits(gas=100_000_000, memory_bytes=1 << 20, output_bytes=1 << 20)
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


def tree() -> FileTree:
    found = FileTree()
    found.add_bytes(bytes(range(256)) * 10, "in/data")
    found.add_bytes(b"second", "in/more")
    found.add_bytes(b"second", "in/twin")
    for name in ("out", "tmp"):
        found.make_directory(name)
    return found


def job(
    module: str,
    *,
    stdin: bytes = b"",
    outputs: tuple[str, ...] = ("out",),
    limits: FileLimits = LIMITS,
    gas: int = AMPLE.gas,
) -> Manifest:
    """Return the manifest of a job over `tree`."""
    made = tree()
    with made.pack() as pack:
        asked = made.asked(pack, outputs=outputs, limits=limits)
    return manifest_for(
        module_named(module),
        JobInput(stdin=stdin),
        limits=attrs.evolve(AMPLE, gas=gas),
        files=attrs.evolve(asked, read_only=("in/more",)),
    )


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
    code, inputs = module_named(module), JobInput(stdin=stdin)
    manifest = job(module, stdin=stdin, outputs=outputs, limits=limits, gas=gas)
    with tree().pack() as pack:
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
