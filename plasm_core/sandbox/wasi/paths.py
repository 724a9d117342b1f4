"""From a path to an inode: as POSIX does it, below one directory (docs/files.md, "Paths")."""

from __future__ import annotations

from plasm_core.sandbox.wasi import abi
from plasm_core.sandbox.wasi.abi import Errno
from plasm_core.tree_listing import DIRECTORY, LINK, MAX_NAME_BYTES

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable

    from plasm_core.sandbox.wasi.inodes import Inode

COMPONENT_GAS = 100
"""What looking at one name of a path costs."""
MAX_LINKS = 40


class Found:
    """The target of a path: a name in a directory, and the inode of that name, if there is one.

    `name` is empty if the path names the directory itself, as `.` does; `inode` is then that directory. `slash`: the
    path ends with a slash, so it must be a directory.
    """

    __slots__ = ("directory", "inode", "name", "slash")

    def __init__(self, directory: Inode, name: bytes, inode: Inode | None, slash: bool) -> None:
        self.directory = directory
        self.name = name
        self.inode = inode
        self.slash = slash


def check_text(path: bytes) -> None:
    """Refuse a text that no path or link target may have. Raises: ilseq, inval."""
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        raise Errno(abi.ILSEQ) from None
    if b"\0" in path:
        raise Errno(abi.INVAL)


def _names(path: bytes) -> list[bytes]:
    """Return the names of a path, the last one first."""
    return [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]


def _says_directory(path: bytes) -> bool:
    return path.endswith((b"/", b"/.")) or path == b"."


def resolve(
    start: Inode, path: bytes, charge: Callable[[int], None], *, follow: bool, naming: bool = False
) -> Found:
    """Look a path up. `follow`: follow a link if the last name is one. `naming`: never follow it, even before a slash.

    Raises: ilseq, inval, noent, notdir, perm (absolute, or above `start`), loop, nametoolong.
    """
    check_text(path)
    if not path:
        raise Errno(abi.NOENT)
    if path.startswith(b"/"):
        raise Errno(abi.PERM)
    above = [start]
    names, slash, links = _names(path), _says_directory(path), 0
    while names:
        name = names.pop()
        charge(COMPONENT_GAS)
        if name == b"..":
            if len(above) == 1:
                raise Errno(abi.PERM)
            above.pop()
            continue
        if len(name) > MAX_NAME_BYTES:
            raise Errno(abi.NAMETOOLONG)
        directory = above[-1]
        there = directory.names.get(name)
        if there is None:
            if names:
                raise Errno(abi.NOENT)
            return Found(directory, name, None, slash)
        inode = there[1]
        if inode.kind == LINK and (names or follow or (slash and not naming)):
            links += 1
            if links > MAX_LINKS:
                raise Errno(abi.LOOP)
            charge(len(inode.target))
            slash = slash or (not names and _says_directory(inode.target))
            names += _names(inode.target)
        elif inode.kind == DIRECTORY:
            if not names:
                return Found(directory, name, inode, slash)
            above.append(inode)
        elif names or slash:
            raise Errno(abi.NOTDIR)
        else:
            return Found(directory, name, inode, slash)
    return Found(above[-1], b"", above[-1], True)
