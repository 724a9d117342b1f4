"""The files that a job left at its node, listed and read one by one, each compared with the receipt."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from plasm_core.client.deadline import Deadline
from plasm_core.client.dial import Dialler
from plasm_core.client.fetched_files import Fetching, FetchLimits
from plasm_core.client.file_fetch import fetch_output
from plasm_core.client.watcher import Watcher, silent
from plasm_core.errors import FilesNotServedError, NodeStalledError, ProtocolError, RefusedError
from plasm_core.records import Handle
from plasm_core.records.files import ROOT, Product
from plasm_core.sandbox.process.file_pack import PREFIX_BYTES, blobs
from plasm_core.tree_listing import DIRECTORY, FILE, MAX_LISTING_BYTES, ListingError, TreeEntry, parse

_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class LeftEntry:
    """A file or directory that a job left. `path`: in the job's tree; `sha256`: a file's digest, as the receipt
    states it.

    A file that is an output by itself has no `size_bytes` before it is read.
    """

    path: str
    kind: str
    size_bytes: int | None = None
    sha256: str | None = None
    product: Product = attrs.field(repr=False)
    offset: int = attrs.field(default=0, repr=False)


async def list_files(
    dialler: Dialler,
    handle: Handle,
    products: tuple[Product, ...],
    limits: FetchLimits,
    deadline: Deadline,
) -> list[LeftEntry]:
    """Fetch the listings of all outputs, and return what there is, in the order of paths.

    Raises: `FilesNotServedError` if the node has other listings than its receipt states; as `AsyncClient.submit`.
    """
    found = []
    for product in products:
        if product.kind == "file":
            found.append(LeftEntry(path=product.path, kind="file", sha256=product.sha256, product=product))
            continue
        with _served():
            entries, offset = await _listing(dialler, handle, product, limits, deadline)
        limits = limits.less(entries)
        found.append(LeftEntry(path=product.path, kind="directory", product=product))
        found += await trio.to_thread.run_sync(left_entries, product, entries, offset)
    return found


async def output_size(
    dialler: Dialler, handle: Handle, product: Product, limits: FetchLimits, deadline: Deadline
) -> int:
    """Return the size of an output as its node sends it: of a file, or of a tree's pack. Raises: as `list_files`."""
    wanted = Fetching(product, limits, length=0)
    try:
        with _served():
            await fetch_output(dialler, handle, wanted, deadline)
            if wanted.size is None:
                raise ProtocolError(f"the node does not tell the size of {product.path!a}")
            return wanted.size
    finally:
        wanted.close()


async def _listing(
    dialler: Dialler, handle: Handle, product: Product, limits: FetchLimits, deadline: Deadline
) -> tuple[list[TreeEntry], int]:
    """Return a tree's entries, and where its files begin. Raises: `ProtocolError`; as `fetch_output`."""
    head = await _part(dialler, handle, Fetching(product, limits, length=PREFIX_BYTES), deadline)
    length = int.from_bytes(head, "little")
    if length > MAX_LISTING_BYTES:
        raise ProtocolError(f"a listing of {length} bytes")
    wanted = Fetching(product, limits, offset=PREFIX_BYTES, length=length)
    data = await _part(dialler, handle, wanted, deadline)
    entries = await trio.to_thread.run_sync(_parsed, data, product, limits)
    return entries, PREFIX_BYTES + length


def _parsed(data: bytes, product: Product, limits: FetchLimits) -> list[TreeEntry]:
    if hashlib.sha256(data).hexdigest() != product.sha256:
        raise ProtocolError(f"{product.path!a} has another listing than the receipt states")
    try:
        entries = parse(data, maximum=limits.entries)
    except ListingError as exc:
        raise ProtocolError(f"{product.path!a}: {exc}") from exc
    if any(entry.kind not in (DIRECTORY, FILE) for entry in entries):
        raise ProtocolError(f"{product.path!a} has an entry that no output has")
    return entries


async def _part(dialler: Dialler, handle: Handle, wanted: Fetching, deadline: Deadline) -> bytes:
    try:
        await fetch_output(dialler, handle, wanted, deadline)
        return await trio.to_thread.run_sync(wanted.whole, wanted.length)
    finally:
        wanted.close()


def left_entries(product: Product, entries: list[TreeEntry], offset: int) -> list[LeftEntry]:
    """Return the entries of a tree that a job left. `offset`: where the bytes of its first file begin in its pack."""
    return list(_left(product, entries, offset))


def _left(product: Product, entries: list[TreeEntry], offset: int) -> Iterator[LeftEntry]:
    offsets = {}
    for digest, size in blobs(entries):
        offsets[digest] = offset
        offset += size
    for entry in entries:
        name = os.fsdecode(entry.path)
        is_directory = entry.kind == DIRECTORY
        yield LeftEntry(
            path=name if product.path == ROOT else f"{product.path}/{name}",
            kind="directory" if is_directory else "file",
            size_bytes=None if is_directory else entry.size,
            sha256=None if is_directory else entry.digest.hex(),
            product=product,
            offset=offsets.get(entry.digest, 0),
        )


async def read_file(
    dialler: Dialler,
    handle: Handle,
    entry: LeftEntry,
    limits: FetchLimits,
    deadline: Deadline,
    watch: Watcher = silent,
) -> Fetching:
    """Fetch one file that `list_files` returned, and compare it with its digest. The caller closes it.

    Raises: `FilesNotServedError`; as `AsyncClient.submit`.
    """
    wanted = Fetching(entry.product, limits, offset=entry.offset)
    if entry.size_bytes is not None:
        wanted.length = entry.size_bytes
    try:
        with _served():
            await fetch_output(dialler, handle, wanted, deadline, watch)
            if await trio.to_thread.run_sync(_digest, wanted) != entry.sha256:
                raise ProtocolError(f"{entry.path!a} is not the file that the receipt states")
    except BaseException:
        wanted.close()
        raise
    return wanted


def _digest(fetched: Fetching) -> str:
    fetched.file.flush()
    digest = hashlib.sha256()
    for start in range(0, fetched.taken, _CHUNK_BYTES):
        digest.update(os.pread(fetched.file.fileno(), _CHUNK_BYTES, start))
    return digest.hexdigest()


@contextmanager
def _served() -> Iterator[None]:
    try:
        yield
    except (ProtocolError, NodeStalledError, RefusedError) as exc:
        raise FilesNotServedError(str(exc)) from exc
