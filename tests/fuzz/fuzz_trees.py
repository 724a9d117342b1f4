"""Try hostile listings, names, workers' messages and file operations: `python tests/fuzz/fuzz_trees.py --count 50000`.

listings    a pack as a node might serve it: `read_pack` refuses it, or what it keeps is written to a directory
names       entries that nobody checked, given to the writer alone: it refuses them, or writes inside the directory
messages    what a worker that a guest took over may send: the parent refuses it, or what it keeps is written
operations  calls of WASI's functions over a job's tree with such names: none touches a file of this machine

An audit hook of the interpreter (PEP 578) sees every path that is opened, made, renamed or removed. It and the bait,
files around the target whose names are among the hostile ones, tell whether anything outside was touched. Only errors
that the callers know may be raised. The exit code is 1 if anything else is seen.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import attrs  # noqa: E402

from plasm_core.client.output_tree import Destination  # noqa: E402
from plasm_core.errors import OutputFileError  # noqa: E402
from plasm_core.records.files import FileLimits, JobFiles, Product  # noqa: E402
from plasm_core.sandbox.process.collected_files import Collected, CollectedFiles  # noqa: E402
from plasm_core.sandbox.process.file_pack import blobs, read_pack  # noqa: E402
from plasm_core.sandbox.process.sealed_memory import sealed_blob  # noqa: E402
from plasm_core.sandbox.process.tree_packing import bytes_source, directory_source, link_source, pack_tree  # noqa: E402
from plasm_core.sandbox.process.worker_frames import DATA, ENTRY, pack_entry  # noqa: E402
from plasm_core.sandbox.wasi import abi  # noqa: E402
from plasm_core.tree_listing import DIRECTORY, FILE, LINK, MAGIC, ListingError, TreeEntry  # noqa: E402
from tests.support import file_rig  # noqa: E402
from tests.support.file_rig import ALL, OTHER, PATH, RESULT, VECTOR, FileRig  # noqa: E402

BAIT = b"bait"
NAMES = (
    *(
        b"",
        b".",
        b"..",
        b"/",
        b"a",
        b"b",
        b"A",
        b"a/b",
        b"a/B",
        b"a//b",
        b"a/",
        b"/a",
        b"../a",
        b"a/../../bait",
    ),
    *(
        b"../bait",
        b"../../bait",
        b"a/../..",
        b"./a",
        b"bait",
        b"../out",
        b"/etc/passwd",
        b"/tmp/x",
        b"~",
        b"~/x",
    ),
    *(
        b"CON",
        b"nul",
        b"aux.txt",
        b"COM1",
        b"a:b",
        b"C:\\x",
        b"..\\bait",
        b"a\\..\\..\\bait",
        b"con/x",
        b"a ",
        b"a.",
    ),
    *(
        b"-rf",
        b"--",
        b"$HOME",
        b"`x`",
        b"%2e%2e/bait",
        b"..%2fbait",
        b"a\nb",
        b"a\x1b[2Jb",
        b"\x7f",
        b"a\0b",
        b"\0",
    ),
    *(
        b"\xff",
        b"\xc0\xae\xc0\xae/bait",
        b"\xed\xa0\x80",
        "é".encode(),
        "e\u0301".encode(),
        "\u202etxt".encode(),
    ),
    *(
        b"x" * 255,
        b"x" * 256,
        b"x" * 255 + b"/" + b"y" * 255,
        b"a/" * 511 + b"a",
        b"x/" * 600,
        b".plasm-",
        b".git/x",
    ),
)
"""What has led programs astray: `..` in many forms, absolute paths, device names, cases, NULs, lengths, escapes."""
KNOWN = (ListingError, OutputFileError, ValueError)
TOUCHING: tuple[str, ...] = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
)
TOUCHING += ("os.chmod", "os.chown", "os.utime", "os.listdir", "os.scandir", "shutil.rmtree", "os.chdir")


class Watch:
    """Notes the paths that this process touches outside a directory, while `on`."""

    def __init__(self) -> None:
        self.inside: bytes | None = None
        self.outside: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or event not in TOUCHING:
            return
        for argument in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
            if isinstance(argument, (str, bytes)):
                self._check(event, os.fsencode(argument))

    def _check(self, event: str, path: bytes) -> None:
        # shutil.rmtree names what lies in a directory by a descriptor, which the hook is not told. A name that was
        # meant for the current directory would be found there: it is empty.
        if self.inside is not None and b"/" not in path and path not in (b"", b".", b".."):
            return
        self.on = False  # realpath reads links
        place = os.path.realpath(path)
        self.on = True
        if self.inside is None or not (place + b"/").startswith(self.inside + b"/"):
            self.outside.append(f"{event} {place!r}")


@attrs.frozen(kw_only=True)
class Served:
    """Outputs as a job left them, with their bytes in a descriptor."""

    outputs: tuple[Product, ...]
    found: dict[str, list[Collected]]
    fd: int

    def entries(self, path: str) -> list[Collected]:
        return self.found[path]

    def read(self, item: Collected, chunk_bytes: int = 1 << 16) -> Iterator[bytes]:
        yield os.pread(self.fd, item.entry.size, item.offset)


class Fuzz:
    """The four kinds of attempts, over a directory of their own."""

    def __init__(self, place: Path, seed: int, watch: Watch) -> None:
        self.draw = random.Random(seed)
        self.watch = watch
        self.area = place / "area"
        self.area.mkdir()
        self.bait = place / "bait", self.area / "bait", self.area / "out-bait"
        for bait in self.bait:
            bait.write_bytes(BAIT)
        self.target = self.area / "out"
        self.here = place / "here"
        self.here.mkdir()
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        with pack_tree([]) as empty:
            self.tree = empty.tree
        self.empty = pack_tree([])

    def attempt(self, kind: str, number: int) -> None:
        """Make one attempt, and note what must not be."""
        work: Callable[[], str] = getattr(self, kind)
        self.watch.inside = None if kind == "operations" else os.fsencode(os.path.realpath(self.area))
        self.watch.on = True
        try:
            verdict = work()
        except KNOWN as exc:
            verdict = f"refused ({type(exc).__name__})"
        except Exception as exc:
            verdict = f"raised {type(exc).__name__}"
            self.wrong.append(f"{kind} {number}: {type(exc).__name__}: {exc}")
        finally:
            self.watch.on = False
        self.counts[f"{kind:11} {verdict}"] += 1
        self.wrong += [f"{kind} {number}: {what}" for what in self.watch.outside]
        self.watch.outside.clear()
        self._check_area(kind, number)

    def _check_area(self, kind: str, number: int) -> None:
        if any(bait.read_bytes() != BAIT for bait in self.bait):
            self.wrong.append(f"{kind} {number}: the bait was changed")
        if os.listdir(self.here):
            self.wrong.append(
                f"{kind} {number}: in the current directory there is {os.listdir(self.here)[:3]}"
            )
        left = set(os.listdir(self.area)) - {"bait", "out-bait", "out", "scratch"}
        if left:
            self.wrong.append(f"{kind} {number}: beside the target there is {sorted(left)[:3]}")
        for top, directories, files in os.walk(os.fsencode(self.target)):
            for name in (*directories, *files):
                if os.path.islink(os.path.join(top, name)):
                    self.wrong.append(f"{kind} {number}: a link was made")
        self._clear()

    def _clear(self) -> None:
        if self.target.is_dir():
            shutil.rmtree(self.target)
        else:
            self.target.unlink(missing_ok=True)

    def name(self, *, harmless: float = 0.4) -> bytes:
        """Return a hostile name, or one made of several, or a harmless one."""
        chance = self.draw.random()
        if chance < harmless:
            return self.draw.choice((b"a", b"b", b"c", b"a/b", b"a/c", b"c/d"))
        if chance < 0.8:
            return self.draw.choice(NAMES)
        if chance < 0.95:
            return b"/".join(self.draw.choice(NAMES) for _ in range(self.draw.randrange(1, 4)))
        return self.draw.randbytes(self.draw.randrange(1, 20))

    def _entry(self) -> TreeEntry:
        kind = self.draw.choice((FILE, FILE, DIRECTORY, DIRECTORY, LINK))
        data = self.draw.choice((b"", b"x", b"hello"))
        digest = hashlib.sha256(data).digest() if kind == FILE else b""
        size = len(data) if kind == FILE else 0
        return TreeEntry(
            self.name(), kind, size=size, digest=digest, target=self.name() if kind == LINK else b""
        )

    def listings(self) -> str:
        """Read a pack, and write what it holds."""
        entries = [self._entry() for _ in range(self.draw.randrange(6))]
        if self.draw.random() < 0.7:
            entries = sorted({entry.path: entry for entry in entries}.values(), key=lambda entry: entry.path)
        listing = MAGIC + b"".join(map(_encoded, entries))
        if self.draw.random() < 0.2 and len(listing) > 1:
            at = self.draw.randrange(len(listing))
            listing = listing[:at] + self.draw.randbytes(1) + listing[at + self.draw.randrange(2) :]
        content = {hashlib.sha256(data).digest(): data for data in (b"", b"x", b"hello")}
        data = b"".join(content.get(digest, b"") for digest, _ in blobs(entries))
        packed = struct.pack("<I", len(listing)) + listing + data
        fd = sealed_blob("fuzz", [packed])
        try:
            kept = read_pack(fd, len(packed))
            offsets = kept.offsets
            items = [
                _top(),
                *(Collected(entry=item, offset=offsets.get(item.digest, 0)) for item in kept.entries),
            ]
            if any(item.entry.kind == LINK for item in items):
                return "accepted, with links, which no output has"
            self._write(items, fd)
        finally:
            os.close(fd)
        return "accepted and written"

    def names(self) -> str:
        """Write entries that were not checked before."""
        entries = sorted(
            (self._entry() for _ in range(self.draw.randrange(1, 5))), key=lambda entry: entry.path
        )
        fd = sealed_blob("fuzz", [b"hello"])
        try:
            self._write(
                [_top(), *(Collected(entry=item, offset=0) for item in entries if item.kind != LINK)], fd
            )
        finally:
            os.close(fd)
        return "written"

    def _write(self, items: list[Collected], fd: int) -> None:
        path = self.draw.choice(("a", "a/b", "out", "."))
        product = Product(path=path, kind="tree", sha256="00" * 32)
        left = Served(outputs=(product,), found={path: items}, fd=fd)
        Destination.prepared(os.fspath(self.target)).write_all(left)

    def messages(self) -> str:
        """Take a worker's messages, and write what was kept."""
        files = JobFiles(
            tree=self.tree,
            read_only=(),
            outputs=("a", "b/c"),
            limits=FileLimits(data_bytes=64, entries=12, descriptors=4),
        )
        left = CollectedFiles(files, self.empty, self._scratch)
        try:
            for kind, body in self._messages():
                left.take(kind, body)
            left.finish()
            products = left.digests
            if not products:
                return "kept nothing"
            for product in products:
                self._clear()
                Destination.prepared(os.fspath(self.target)).write(left, left.entries(product.path))
        finally:
            left.discard()
        return "kept and written"

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        draw = self.draw
        if draw.random() < 0.95:
            yield ENTRY, pack_entry(0, DIRECTORY, 0, b"")
        for _ in range(draw.randrange(8)):
            if draw.random() < 0.03:
                yield draw.choice((ENTRY, DATA)), draw.randbytes(draw.randrange(24))
                continue
            kind = draw.choice((*(DIRECTORY, FILE) * 6, LINK, 0))
            data = draw.choice((b"", b"x", b"hello", b"y" * 40)) if kind == FILE else b""
            yield (
                ENTRY,
                pack_entry(draw.choice((0, 0, 0, 0, 0, 1, 2)), kind, len(data), self.name(harmless=0.7)),
            )
            if data:
                yield DATA, data

    def _scratch(self) -> Any:
        return tempfile.TemporaryFile(dir=self.area / "scratch")

    def operations(self) -> str:
        """Call the functions over files in a tree of memory."""
        sources = [
            directory_source(b"a"),
            bytes_source(b"a/b", b"hello"),
            link_source(b"l", b"a/b"),
            link_source(b"u", b".."),
        ]
        self.watch.on = False  # the pack of the input is made by the client
        rig = FileRig(sources, read_only=[b"a/b"], data_bytes=4_096, entries=24, descriptors=10)
        self.watch.on = True
        for _ in range(8):
            name = self.draw.choice(FUNCTIONS)
            first, second = self.name()[:4_000], self.name()[:4_000]
            rig.memory[PATH : PATH + len(first)] = first
            rig.memory[OTHER : OTHER + len(second)] = second
            values = [
                self.draw.choice((0, 1, 3, 3, 4, 5, 2**32 - 1, RESULT, file_rig.DATA))
                for _ in abi.FUNCTIONS[name][0]
            ]
            if name.startswith("path_"):
                values = self._path_call(name, values, len(first), len(second))
            elif len(values) > 1:
                values[0] = self.draw.choice((3, 4, 5))
                rig.memory[VECTOR : VECTOR + 8] = struct.pack("<II", file_rig.DATA, 100)
            code = rig.call(name, *values)
            if not 0 <= code <= 76:
                raise AssertionError(f"{name} returned {code}")
        return "called"

    def _path_call(self, name: str, values: list[int], first: int, second: int) -> list[int]:
        flags = self.draw.choice((0, 1))
        if name == "path_open":
            return [3, flags, PATH, first, self.draw.choice((0, 1, 2, 5, 9)), ALL, ALL, 0, RESULT]
        if name == "path_rename":
            return [3, PATH, first, 3, OTHER, second]
        if name == "path_link":
            return [3, flags, PATH, first, 3, OTHER, second]
        if name == "path_symlink":
            return [PATH, first, 3, OTHER, second]
        if name in ("path_filestat_get", "path_filestat_set_times"):
            return [3, flags, PATH, first, *values[4:]]
        return [3, PATH, first, *values[3:]]


FUNCTIONS = sorted(name for name in abi.FUNCTIONS if name.startswith("path_")) * 3 + sorted(
    name for name in abi.FUNCTIONS if name.startswith("fd_")
)
KINDS = ("listings", "names", "messages", "operations")


def _top() -> Collected:
    return Collected(entry=TreeEntry(b"", DIRECTORY), offset=0)


def _encoded(entry: TreeEntry) -> bytes:
    """Encode an entry, valid or not: `encode` refuses some."""
    head = struct.pack("<BI", entry.kind, len(entry.path)) + entry.path
    if entry.kind == FILE:
        return head + struct.pack("<Q", entry.size) + entry.digest
    return head + struct.pack("<I", len(entry.target)) + entry.target if entry.kind == LINK else head


@contextlib.contextmanager
def fuzzing(seed: int, watch: Watch) -> Iterator[Fuzz]:
    """Make the directory of attempts, and remove it."""
    with tempfile.TemporaryDirectory() as place:
        found = Fuzz(Path(place), seed, watch)
        (found.area / "scratch").mkdir()
        before = os.getcwd()
        os.chdir(found.here)
        try:
            yield found
        finally:
            os.chdir(before)


def main() -> int:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000, help="attempts of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="which, if not all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began, wrong = time.monotonic(), []
    with fuzzing(options.seed, Watch()) as fuzz:
        for kind in options.kind or KINDS:
            for number in range(options.count):
                fuzz.attempt(kind, number)
        wrong = fuzz.wrong
        lines = [f"{verdict:64}{count:>8}" for verdict, count in sorted(fuzz.counts.items())]
    lines.append(
        f"seed {options.seed}: {options.count:,} of each kind in {time.monotonic() - began:.0f} s, "
        f"{len(wrong)} that must not be"
    )
    sys.stdout.write("\n".join([*wrong[:20], *lines]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
