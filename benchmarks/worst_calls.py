"""The calls of host functions that make the host work most, for `host_calls.py`: without files, and with them."""

from __future__ import annotations

import functools
import struct

import attrs

from plasm_core.sandbox.metering.binary import signed as encode_signed
from plasm_core.sandbox.metering.binary import sized, unsigned, vector
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.process.tree_packing import bytes_source, directory_source, link_source, pack_tree
from plasm_core.sandbox.wasi.abi import DIRECTORY_RIGHTS, FILE_RIGHTS, FUNCTIONS, OPEN_CREATE, OPEN_TRUNCATE
from plasm_core.sandbox.wasi.open_files import MAX_PATH_ARGUMENT_BYTES, PREOPEN

_PAGES = 64
_IOVS, _SUBSCRIPTIONS, _EVENTS, _BUFFER, _RESULT = 4_096, 16_384, 131_072, 262_144, 64
_PATHS = 2 << 20
_PATH_ROOM = 8_192
_MANY = 250_000
_VECTORS = 1_024
_FDS_BAD = 99
_RIGHTS = DIRECTORY_RIGHTS | FILE_RIGHTS

Step = tuple[str, tuple[int, ...]]
"""A call: the function's name and its arguments."""


@attrs.frozen(kw_only=True)
class Call:
    """Arguments of one function, and what the job has for it to work on. `once`: a job can make one call only.

    `entries`: the job has the files of `worst_tree`, so many in a directory. `before`: calls that are made once, before
    all others. `after`: calls that follow each one, such as those that undo it.
    """

    label: str
    arguments: tuple[int, ...]
    memory: tuple[tuple[int, bytes], ...] = ()
    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    stdin_bytes: int = 0
    once: bool = False
    entries: int | None = None
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()


def _vectors(length: int, *, step: int = 1_000, count: int = _VECTORS) -> tuple[tuple[int, bytes], ...]:
    """Return a list of vectors of a length, spread over the memory."""
    return ((_IOVS, b"".join(struct.pack("<II", _BUFFER + step * i, length) for i in range(count))),)


def _subscriptions(kind: int, of: int) -> tuple[tuple[int, bytes], ...]:
    one = struct.pack("<QB7xI4xQ8xH6x", 7, kind, of, 1, 0)
    return ((_SUBSCRIPTIONS, one * _VECTORS),)


_POLL = (_SUBSCRIPTIONS, _EVENTS, _VECTORS, _RESULT)
_EMPTY = (b"",) * _MANY
_LONG = (b"x" * 1_000_000,)
_ENV = (b"A=",) * _MANY

WORST: dict[str, tuple[Call, ...]] = {
    "args_get": (
        Call(label="one", arguments=(_EVENTS, _BUFFER)),
        Call(label="many", arguments=(_BUFFER, 2 << 20), args=_EMPTY),
        Call(label="long", arguments=(_EVENTS, _BUFFER), args=_LONG),
    ),
    "args_sizes_get": (
        Call(label="one", arguments=(64, 68)),
        Call(label="many", arguments=(64, 68), args=_EMPTY),
    ),
    "environ_get": (
        Call(label="none", arguments=(_EVENTS, _BUFFER)),
        Call(label="many", arguments=(_BUFFER, 2 << 20), env=_ENV),
    ),
    "environ_sizes_get": (
        Call(label="none", arguments=(64, 68)),
        Call(label="many", arguments=(64, 68), env=_ENV),
    ),
    "random_get": (
        Call(label="a byte", arguments=(_BUFFER, 1)),
        Call(label="1 MiB", arguments=(_BUFFER, 1 << 20)),
        Call(label="outside", arguments=(0xFFFF_FFFF, 1)),
    ),
    "fd_read": (
        Call(label="at the end", arguments=(0, _IOVS, 1, _RESULT), memory=_vectors(1)),
        Call(
            label="bytes", arguments=(0, _IOVS, _VECTORS, _RESULT), memory=_vectors(1), stdin_bytes=64 << 20
        ),
        Call(label="nothing", arguments=(0, _IOVS, _VECTORS, _RESULT), memory=_vectors(0), stdin_bytes=1),
        Call(
            label="1 MiB",
            arguments=(0, _IOVS, 1, _RESULT),
            memory=_vectors(1 << 20, count=1),
            stdin_bytes=64 << 20,
        ),
    ),
    "fd_write": (
        Call(label="a byte", arguments=(1, _IOVS, 1, _RESULT), memory=_vectors(1)),
        Call(label="bytes", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(1)),
        Call(label="nothing", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(0)),
        Call(label="1 MiB", arguments=(1, _IOVS, 1, _RESULT), memory=_vectors(1 << 20, count=1)),
        Call(label="outside", arguments=(1, _IOVS, _VECTORS, _RESULT), memory=_vectors(1, step=4_000)),
    ),
    "poll_oneoff": (
        Call(label="clocks", arguments=_POLL, memory=_subscriptions(0, 1)),
        Call(label="descriptors", arguments=_POLL, memory=_subscriptions(2, 1)),
        Call(label="no descriptors", arguments=_POLL, memory=_subscriptions(1, _FDS_BAD)),
        Call(label="no kind", arguments=_POLL, memory=_subscriptions(9, 0)),
    ),
    "proc_exit": (Call(label="once", arguments=(0,), once=True),),
    "clock_time_get": (
        Call(label="a clock", arguments=(0, 1, _RESULT)),
        Call(label="outside", arguments=(0, 1, 0xFFFF_FFFF)),
        Call(label="no clock", arguments=(9, 1, _RESULT)),
    ),
    "fd_renumber": (
        Call(label="to another", arguments=(1, 1)),
        Call(label="no descriptor", arguments=(_FDS_BAD, 1)),
    ),
}
"""The arguments that make the host work most, by function: for the others, see `_otherwise`."""


def _otherwise(name: str) -> tuple[Call, ...]:
    """Return arguments for a function that only looks at descriptors and numbers: one that is there, and none."""
    params, _ = FUNCTIONS[name]
    fd = 2 if name == "path_symlink" else 0
    there = [_RESULT] * len(params)
    if params:
        there[min(fd, len(params) - 1)] = 1
    return (
        Call(label="there", arguments=tuple(there)),
        Call(label="not there", arguments=tuple([_FDS_BAD] * len(params))),
        Call(label="all bits", arguments=tuple(0xFFFF_FFFF if char == "i" else 2**64 - 1 for char in params)),
    )


for _name in FUNCTIONS:
    WORST.setdefault(_name, _otherwise(_name))


# -- with files

_DEPTH = 500
_FEW, _IN_DIRECTORY = 100, 60_000
_FILE_BYTES = 8 << 20
_LINKS = 39
_WIDE, _FILE, _LINK = b"wide", b"file", b"link"
_PATHS_BY_USE = {
    "deep": b"a/" * (_DEPTH - 1) + b"a",
    "dots": b"./" * (MAX_PATH_ARGUMENT_BYTES // 2 - 3) + _FILE,
    "slashes": b"wide" + b"/" * (MAX_PATH_ARGUMENT_BYTES - 4),
    "broken": b"x" * (MAX_PATH_ARGUMENT_BYTES - 1) + b"\xff",
    "none": b"x" * 255,
    "links": b"link39",
    "new": b"wide/" + b"n" * 255,
    "other": b"wide/" + b"o" * 255,
    "first": b"wide/00000",
    "wide": _WIDE,
    "moved": b"moved",
    "file": _FILE,
    "target": b"t" * 1_024,
}
_AT = {use: _PATHS + _PATH_ROOM * index for index, use in enumerate(_PATHS_BY_USE)}
_ALL_PATHS = tuple((_AT[use], path) for use, path in _PATHS_BY_USE.items())


@functools.cache
def worst_tree(entries: int) -> FilePack:
    """Return files that make the host work: a wide directory, a deep one, links of links, a large file."""
    return pack_tree(
        [
            directory_source(_WIDE),
            *(bytes_source(_WIDE + b"/%05d" % number, b"") for number in range(entries)),
            *(directory_source(b"a/" * depth + b"a") for depth in range(_DEPTH)),
            bytes_source(_FILE, bytes(_FILE_BYTES)),
            link_source(b"link00", _FILE),
            # Dots make a target long: they are charged, and looked through.
            *(
                link_source(b"link%02d" % n, b"./" * 500 + b"link%02d" % (n - 1))
                for n in range(1, _LINKS + 1)
            ),
        ]
    )


def _path(use: str) -> tuple[int, int]:
    return _AT[use], len(_PATHS_BY_USE[use])


def _opening(use: str, how: int = 0) -> Step:
    directory = use in ("wide", "deep")
    rights = DIRECTORY_RIGHTS if directory else FILE_RIGHTS
    return "path_open", (PREOPEN, 1, *_path(use), how, rights, _RIGHTS if directory else 0, 0, _RESULT)


def _with(
    label: str,
    *arguments: int,
    entries: int = _FEW,
    before: tuple[Step, ...] = (),
    after: tuple[Step, ...] = (),
    memory: tuple[tuple[int, bytes], ...] = (),
) -> Call:
    return Call(
        label=label,
        arguments=arguments,
        entries=entries,
        before=before,
        after=after,
        memory=(*_ALL_PATHS, *memory),
    )


_FD = PREOPEN + 1
"""The first descriptor that a job opens."""
_OPEN_FILE, _OPEN_WIDE, _OPEN_DEEP, _CREATE = (
    *(_opening("file"), _opening("wide"), _opening("deep")),
    _opening("new", OPEN_CREATE),
)
_UNLINK: Step = ("path_unlink_file", (PREOPEN, *_path("new")))
_CLOSE: Step = ("fd_close", (_FD,))
_LISTED = ("deep", "dots", "slashes", "broken", "none", "links")


def _stated(name: str) -> tuple[Call, ...]:
    """Return calls that look a path up, as they all do, for a function that takes a descriptor, flags and a path."""
    rest = {"path_filestat_get": (_BUFFER,), "path_filestat_set_times": (1, 1, 5)}[name]
    return tuple(_with(use, PREOPEN, 1, *_path(use), *rest) for use in _LISTED)


WORST_WITH_FILES: dict[str, tuple[Call, ...]] = {
    "fd_advise": (_with("a file", _FD, 0, 1, 0, before=(_OPEN_FILE,)),),
    "fd_allocate": (
        _with("nothing new", _FD, 0, 1, before=(_OPEN_FILE,)),
        _with(
            "a byte more",
            _FD,
            1 << 20,
            1,
            before=(_CREATE,),
            after=(("fd_filestat_set_size", (_FD, 1 << 20)),),
        ),
        _with(
            "1 MiB and back", _FD, 0, 1 << 20, before=(_CREATE,), after=(("fd_filestat_set_size", (_FD, 0)),)
        ),
    ),
    "fd_close": (_with("many are open", _FD, before=(_OPEN_FILE,) * 4_000, after=(_OPEN_FILE,)),),
    "fd_datasync": (_with("a file", _FD, before=(_OPEN_FILE,)),),
    "fd_fdstat_get": (_with("a file", _FD, _BUFFER, before=(_OPEN_FILE,)),),
    "fd_fdstat_set_flags": (_with("a file", _FD, 1, before=(_OPEN_FILE,)),),
    "fd_fdstat_set_rights": (_with("too many", _FD, 2**64 - 1, 0, before=(_OPEN_FILE,)),),
    "fd_filestat_get": (_with("a file", _FD, _BUFFER, before=(_OPEN_FILE,)),),
    "fd_filestat_set_size": (
        _with("as the input has it", _FD, _FILE_BYTES, before=(_OPEN_FILE,)),
        _with(
            "half and back",
            _FD,
            1 << 19,
            before=(_CREATE,),
            after=(("fd_filestat_set_size", (_FD, 1 << 20)),),
        ),
        _with("none and back", _FD, 0, before=(_CREATE,), after=(("fd_filestat_set_size", (_FD, 65_536)),)),
        _with("too much", _FD, 2**62, before=(_CREATE,)),
    ),
    "fd_filestat_set_times": (_with("a file", _FD, 1, 1, 5, before=(_OPEN_FILE,)),),
    "fd_pread": (
        _with("bytes", _FD, _IOVS, _VECTORS, 0, _RESULT, before=(_OPEN_FILE,), memory=_vectors(1)),
        _with("nothing", _FD, _IOVS, _VECTORS, 0, _RESULT, before=(_OPEN_FILE,), memory=_vectors(0)),
        _with("1 MiB", _FD, _IOVS, 1, 0, _RESULT, before=(_OPEN_FILE,), memory=_vectors(1 << 20, count=1)),
        _with(
            *("bytes that the job wrote", _FD, _IOVS, _VECTORS, 0, _RESULT),
            before=(_CREATE, ("fd_filestat_set_size", (_FD, 1 << 20))),
            memory=_vectors(1),
        ),
    ),
    "fd_prestat_dir_name": (_with("the root", PREOPEN, _BUFFER, 1),),
    "fd_prestat_get": (_with("the root", PREOPEN, _BUFFER),),
    "fd_pwrite": (
        _with("bytes", _FD, _IOVS, _VECTORS, 0, _RESULT, before=(_CREATE,), memory=_vectors(1)),
        _with("nothing", _FD, _IOVS, _VECTORS, 0, _RESULT, before=(_CREATE,), memory=_vectors(0)),
        _with("1 MiB", _FD, _IOVS, 1, 0, _RESULT, before=(_CREATE,), memory=_vectors(1 << 20, count=1)),
    ),
    "fd_read": (
        _with(
            *("bytes", _FD, _IOVS, _VECTORS, _RESULT),
            before=(_OPEN_FILE,),
            after=(("fd_seek", (_FD, 0, 0, _RESULT)),),
            memory=_vectors(1),
        ),
    ),
    "fd_readdir": (
        _with("all", _FD, _BUFFER, 1 << 20, 0, _RESULT, entries=_IN_DIRECTORY, before=(_OPEN_WIDE,)),
        _with("a byte", _FD, _BUFFER, 1, 40_000, _RESULT, entries=_IN_DIRECTORY, before=(_OPEN_WIDE,)),
        _with("at the end", _FD, _BUFFER, 24, 2**62, _RESULT, entries=_IN_DIRECTORY, before=(_OPEN_WIDE,)),
        _with("nothing", _FD, _BUFFER, 0, 0, _RESULT, entries=_IN_DIRECTORY, before=(_OPEN_WIDE,)),
    ),
    "fd_renumber": (_with("to another", _FD, _FD + 1, before=(_OPEN_FILE,) * 2, after=(_OPEN_FILE,)),),
    "fd_seek": (_with("a file", _FD, 1, 0, _RESULT, before=(_OPEN_FILE,)),),
    "fd_sync": (_with("a file", _FD, before=(_OPEN_FILE,)),),
    "fd_tell": (_with("a file", _FD, _RESULT, before=(_OPEN_FILE,)),),
    "fd_write": (
        _with(
            *("at the end", _FD, _IOVS, 1, _RESULT),
            before=(_CREATE, ("fd_fdstat_set_flags", (_FD, 1))),
            memory=_vectors(1),
        ),
        _with(
            *("bytes at the end", _FD, _IOVS, _VECTORS, _RESULT),
            before=(_CREATE, ("fd_fdstat_set_flags", (_FD, 1))),
            memory=_vectors(1),
        ),
    ),
    "path_create_directory": (
        *(_with(use, PREOPEN, *_path(use)) for use in _LISTED if use != "none"),
        _with(
            "a new one", PREOPEN, *_path("new"), after=(("path_remove_directory", (PREOPEN, *_path("new"))),)
        ),
    ),
    "path_filestat_get": _stated("path_filestat_get"),
    "path_filestat_set_times": _stated("path_filestat_set_times"),
    "path_link": (
        _with("a file", PREOPEN, 0, *_path("file"), PREOPEN, *_path("new"), after=(_UNLINK,)),
        _with("there already", PREOPEN, 0, *_path("deep"), PREOPEN, *_path("slashes")),
    ),
    "path_open": (
        *(_with(use, *_opening(use)[1], after=(_CLOSE,)) for use in ("deep", "dots", "slashes", "links")),
        _with("broken", *_opening("broken")[1]),
        _with("a new one", *_CREATE[1], after=(_CLOSE, _UNLINK)),
        _with(
            "emptied",
            *_opening("new", OPEN_CREATE | OPEN_TRUNCATE)[1],
            after=(("fd_filestat_set_size", (_FD, 65_536)), _CLOSE),
        ),
    ),
    "path_readlink": (
        _with("a long one", PREOPEN, *_path("links"), _BUFFER, 4_096, _RESULT),
        _with("none", PREOPEN, *_path("none"), _BUFFER, 4_096, _RESULT),
    ),
    "path_remove_directory": (
        _with("not empty", PREOPEN, *_path("wide")),
        _with("deep", PREOPEN, *_path("slashes")),
    ),
    "path_rename": (
        _with(
            *("the first of many", PREOPEN, *_path("first"), PREOPEN, *_path("new")),
            entries=_IN_DIRECTORY,
            after=(("path_rename", (PREOPEN, *_path("new"), PREOPEN, *_path("first"))),),
        ),
        _with(
            *("many", PREOPEN, *_path("wide"), PREOPEN, *_path("moved")),
            entries=_IN_DIRECTORY,
            after=(("path_rename", (PREOPEN, *_path("moved"), PREOPEN, *_path("wide"))),),
        ),
        _with("below itself", PREOPEN, _AT["deep"], 1, _FD, *_path("none"), before=(_OPEN_DEEP,)),
    ),
    "path_symlink": (
        _with("a long one", _AT["target"], 1_024, PREOPEN, *_path("new"), after=(_UNLINK,)),
        _with("there already", _AT["target"], 1_024, PREOPEN, *_path("deep")),
    ),
    "path_unlink_file": (_with("none", PREOPEN, *_path("none")), _with("deep", PREOPEN, *_path("deep"))),
    "poll_oneoff": (
        _with("files", *_POLL, before=(_OPEN_FILE,), memory=_subscriptions(1, _FD)),
        _with("room", *_POLL, before=(_CREATE,), memory=_subscriptions(2, _FD)),
        _with(
            *("without the right", *_POLL),
            before=(_OPEN_FILE, ("fd_fdstat_set_rights", (_FD, 0, 0))),
            memory=_subscriptions(1, _FD),
        ),
    ),
    "sock_shutdown": (_with("a file", _FD, 0, before=(_OPEN_FILE,)),),
}
"""The same for jobs with files, whose functions take the place of the host's."""


def module_calling(name: str, call: Call, times: int) -> bytes:
    """Return a module that makes a call so many times, with those before it and behind it."""
    names = list(dict.fromkeys((name, *(step for step, _ in (*call.before, *call.after)))))
    kinds = list(dict.fromkeys(FUNCTIONS[each] for each in names))

    def section(number: int, content: bytes) -> bytes:
        return bytes([number]) + sized(content)

    def kind(types: tuple[str, str]) -> bytes:
        params, results = ([{"i": b"\x7f", "I": b"\x7e"}[char] for char in half] for half in types)
        return b"\x60" + vector(params) + vector(results)

    def made(step: Step) -> bytes:
        called, arguments = step
        code = b""
        for char, value in zip(FUNCTIONS[called][0], arguments, strict=True):
            bits = 32 if char == "i" else 64
            value -= (value >> (bits - 1)) << bits
            code += bytes([0x41 if char == "i" else 0x42]) + encode_signed(value)
        return code + b"\x10" + unsigned(names.index(called)) + (b"\x1a" if FUNCTIONS[called][1] else b"")

    code = b"".join(map(made, call.before)) + b"\x03\x40"
    code += made((name, call.arguments)) + b"".join(map(made, call.after))
    code += b"\x20\0\x41\1\x6a\x22\0\x41" + encode_signed(times) + b"\x49\x0d\0\x0b"
    imports = [
        sized(b"wasi_snapshot_preview1")
        + sized(each.encode())
        + b"\0"
        + unsigned(kinds.index(FUNCTIONS[each]))
        for each in names
    ]
    return b"\0asm\1\0\0\0" + b"".join(
        (
            section(1, vector([*map(kind, kinds), b"\x60\0\0"])),
            section(2, vector(imports)),
            section(3, vector([unsigned(len(kinds))])),
            section(5, vector([b"\0" + unsigned(_PAGES)])),
            section(7, vector([sized(b"memory") + b"\2\0", sized(b"_start") + b"\0" + unsigned(len(names))])),
            section(10, vector([sized(b"\1\1\x7f" + code + b"\x0b")])),
            section(
                11,
                vector([b"\0\x41" + encode_signed(at) + b"\x0b" + sized(data) for at, data in call.memory]),
            ),
        )
    )
