"""The files that a job left, fetched from its node: kept in unnamed files, and compared with the receipt."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

import attrs

from plasm_core.errors import ProtocolError
from plasm_core.records.files import Product
from plasm_core.sandbox.process.collected_files import Collected
from plasm_core.sandbox.process.file_pack import FilePack, read_pack
from plasm_core.scratch_file import scratch_file
from plasm_core.tree_listing import DIRECTORY, FILE, MAX_ENTRIES, MAX_LISTING_BYTES, ListingError, TreeEntry

if TYPE_CHECKING:
    from plasm_core.protocol.messages import OutputContents

_CHUNK_BYTES = 1 << 20
MAX_FETCH_BYTES = 2**53 - 1


@attrs.frozen(kw_only=True)
class FetchLimits:
    """The limits for all outputs that a client fetches of one job. `file_bytes`: the bytes of all files together."""

    entries: int = MAX_ENTRIES
    file_bytes: int = 1 << 40

    def less(self, entries: Sequence[TreeEntry]) -> FetchLimits:
        """Return the limits that remain for the other outputs after these entries."""
        used = sum(entry.size for entry in entries)
        return FetchLimits(
            entries=max(0, self.entries - len(entries)), file_bytes=max(0, self.file_bytes - used)
        )


@attrs.define(eq=False)
class Fetching:
    """One output being fetched, or a part of it, with the bytes received so far, so that another connection can
    continue. `offset`, `length`: the part to fetch.
    """

    product: Product
    limits: FetchLimits
    offset: int = 0
    length: int = MAX_FETCH_BYTES
    size: int | None = None
    file: IO[bytes] = attrs.field(factory=scratch_file)
    taken: int = 0

    def take_size(self, contents: OutputContents) -> None:
        """Record the kind and size that the node announces. Raises: `ProtocolError` if they contradict the receipt."""
        product, most = self.product, self.limits.file_bytes
        if contents.kind != product.kind:
            raise ProtocolError(
                f"the node has {_said(contents.kind)} where its receipt states a {product.kind}: {product.path!a}"
            )
        if product.kind == "tree":
            most += 4 + MAX_LISTING_BYTES
        if contents.size > most:
            raise ProtocolError(
                f"the node has {contents.size} bytes of {product.path!a}, but the job may leave at most {most}"
            )
        if self.size is not None and self.size != contents.size:
            raise ProtocolError(f"{product.path!a} has had another size before")
        self.size = contents.size

    def write(self, data: bytes) -> None:
        """Keep the next bytes. Raises: OSError."""
        self.file.write(data)
        self.taken += len(data)

    def whole(self, count: int) -> bytes:
        """Return the part, which must have so many bytes. Raises: `ProtocolError`."""
        self.file.flush()
        if self.taken != count:
            raise ProtocolError(f"{self.product.path!a} is shorter than its listing says")
        return os.pread(self.file.fileno(), count, 0)

    def finish(self) -> list[Collected]:
        """Compare all bytes with the receipt's digest. Return the entries, the output itself first.

        Raises: `ProtocolError` if they are something else; OSError.
        """
        self.file.flush()
        fd, size, product = self.file.fileno(), self.taken, self.product
        if product.kind == "file":
            digest = hashlib.sha256()
            for start in range(0, size, _CHUNK_BYTES):
                digest.update(os.pread(fd, _CHUNK_BYTES, start))
            if digest.hexdigest() != product.sha256:
                raise ProtocolError(f"{product.path!a} is not the file that the receipt states")
            entry = TreeEntry(b"", FILE, size=size, digest=digest.digest())
            return [Collected(entry=entry, offset=0, fd=fd)]
        try:
            pack = read_pack(
                fd,
                size,
                tree=product.sha256,
                maximum_entries=self.limits.entries,
                maximum_bytes=self.limits.file_bytes,
            )
        except ListingError as exc:
            raise ProtocolError(f"{product.path!a} is not the tree that the receipt states: {exc}") from exc
        return [Collected(entry=TreeEntry(b"", DIRECTORY), offset=0), *_entries(pack, product)]

    def close(self) -> None:
        """Forget the bytes."""
        self.file.close()


def _said(kind: str) -> str:
    return "nothing" if kind == "none" else f"a {kind}"


def _entries(pack: FilePack, product: Product) -> Iterator[Collected]:
    offsets = pack.offsets
    for entry in pack.entries:
        if entry.kind not in (DIRECTORY, FILE):
            raise ProtocolError(f"{product.path!a} has an entry that no output has")
        yield Collected(entry=entry, offset=offsets.get(entry.digest, 0), fd=pack.fd)


class FetchedFiles:
    """The outputs that were fetched and compared with the receipt."""

    def __init__(self, wanted: tuple[str, ...] = ()) -> None:
        """`wanted`: the outputs that the task asks for, whether or not the job left them."""
        self.outputs = wanted
        self._found: dict[str, list[Collected]] = {}
        self._open: list[Fetching] = []
        self._products: list[Product] = []
        self.close = weakref.finalize(self, _close, self._open)
        """Forgets the bytes; so does the end of this object."""

    def add(self, fetched: Fetching, entries: list[Collected]) -> None:
        """Add an output that is complete and compared."""
        self._found[fetched.product.path] = entries
        self._open.append(fetched)
        self._products.append(fetched.product)

    @property
    def digests(self) -> tuple[Product, ...]:
        """The outputs that there are."""
        return tuple(sorted(self._products))

    @property
    def found(self) -> dict[str, Product | None]:
        """The outputs by their paths, None for one that the job did not leave."""
        there = {product.path: product for product in self._products}
        return {path: there.get(path) for path in self.outputs}

    def kind(self, path: str) -> str | None:
        """Return an output's kind, `file` or `tree`; None if the job did not leave it."""
        product = self.found.get(path)
        return None if product is None else product.kind

    def contents(self, path: str) -> Iterator[bytes]:
        """Return an output as it was fetched, piece by piece: a file's bytes, or a tree's pack."""
        for fetched in self._open:
            if fetched.product.path == path:
                for start in range(0, fetched.taken, _CHUNK_BYTES):
                    yield os.pread(fetched.file.fileno(), _CHUNK_BYTES, start)

    def entries(self, path: str) -> list[Collected]:
        """Return the entries of an output in the order of its listing, its top first; none if it is not there."""
        return self._found.get(path, [])

    def read(self, item: Collected, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
        """Return the bytes of a file, piece by piece."""
        for start in range(0, item.entry.size, chunk_bytes):
            yield os.pread(item.fd, min(chunk_bytes, item.entry.size - start), item.offset + start)


def _close(fetched: list[Fetching]) -> None:
    for item in fetched:
        item.close()
    fetched.clear()
