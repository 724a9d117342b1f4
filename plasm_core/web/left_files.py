"""The files that a job left: listed, and each as the body of a response. Paths are looked up in the listing only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import attrs

from plasm_core.client import session
from plasm_core.client.deadline import Deadline
from plasm_core.client.fetched_files import FetchLimits
from plasm_core.client.remote_files import LeftEntry, list_files, output_size
from plasm_core.errors import ConnectionLostError, FilesNotServedError, RefusedError
from plasm_core.protocol.messages import OutputContents
from plasm_core.records import Receipt
from plasm_core.records.files import ROOT, Product
from plasm_core.web.byte_ranges import Wanted
from plasm_core.web.job_json import receipt_of
from plasm_core.web.job_table import WebJob
from plasm_core.web.problems import ApiProblem, not_found
from plasm_core.web.streamed import Start, Write
from plasm_core.web.web_jobs import GONE, WebJobs, gone, telling_gone

MAX_REMEMBERED = 65_536
"""Entries of listings, of some 400 bytes each: as many as one job may leave."""
_ASK_S = 30.0
_PLAIN = re.compile(r"[^A-Za-z0-9._-]")


class RecentListings:
    """The listings that were asked for last, at most `MAX_REMEMBERED` entries: a client reads file after file."""

    def __init__(self, maximum: int = MAX_REMEMBERED) -> None:
        self._maximum = maximum
        self._found: dict[Product, list[LeftEntry]] = {}

    def find(self, product: Product) -> list[LeftEntry] | None:
        """Return the entries of an output, None if they are not remembered. An output is named by its digest."""
        found = self._found.pop(product, None)
        if found is not None:
            self._found[product] = found  # the latest
        return found

    def add(self, product: Product, entries: list[LeftEntry]) -> None:
        """Remember the entries of an output, and forget the oldest for them."""
        self._found.pop(product, None)
        self._found[product] = entries
        while sum(map(len, self._found.values())) > self._maximum:
            del self._found[next(iter(self._found))]


@attrs.frozen(kw_only=True)
class LeftFiles:
    """The files of one job that has ended, at its node. `receipt`: as its node sent it."""

    jobs: WebJobs
    job: WebJob
    receipt: Receipt
    recent: RecentListings

    @classmethod
    async def of(cls, jobs: WebJobs, job: WebJob, recent: RecentListings) -> LeftFiles:
        """Return the files of a job. Raises: `ApiProblem` if it has not ended, or was released."""
        envelope = await jobs.ended_envelope(job)
        return cls(jobs=jobs, job=job, receipt=receipt_of(envelope), recent=recent)

    async def entries(self) -> list[LeftEntry]:
        """Return all files and directories, in the order of outputs. Raises: `ApiProblem`."""
        return await self._listed(self.receipt.files)

    async def file(self, path: str) -> LeftEntry:
        """Return one file. Raises: `ApiProblem` if the job left none of this path."""
        product = product_with(self.receipt.files, path)
        for entry in [] if product is None else await self._listed((product,)):
            if entry.path == path:
                return checked_file(entry)
        raise no_file(path)

    async def output(self, path: str) -> tuple[Product, int]:
        """Return an output that the manifest names, with its size as the node sends it. Raises: `ApiProblem`."""
        for product in self.receipt.files:
            if product.path == path:
                return product, await self._size(product)
        raise not_found("such output: the manifest does not name it, or the job did not leave it")

    async def _listed(self, products: Sequence[Product]) -> list[LeftEntry]:
        found: list[LeftEntry] = []
        for product in products:
            entries = self.recent.find(product)
            if entries is None:
                entries = await self._fetched(product, len(found))
                self.recent.add(product, entries)
            found += entries
        return found

    async def _fetched(self, product: Product, before: int) -> list[LeftEntry]:
        """Return the entries of an output, after so many of outputs before it. Raises: `ApiProblem`."""
        limits = attrs.evolve(self._limits, entries=max(0, self._limits.entries - before))
        with self._asking():
            found = await list_files(
                self.jobs.client.dialler, self.job.handle, (product,), limits, Deadline(_ASK_S)
            )
        if product.kind == "file":
            return [attrs.evolve(entry, size_bytes=await self._size(product)) for entry in found]
        return found

    async def _size(self, product: Product) -> int:
        with self._asking():
            return await output_size(
                self.jobs.client.dialler, self.job.handle, product, self._limits, Deadline(_ASK_S)
            )

    @property
    def _limits(self) -> FetchLimits:
        asked = self.receipt.asked.files
        return FetchLimits(entries=0 if asked is None else asked.limits.entries + 1)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self.jobs.saying_why():
            try:
                yield
            except FilesNotServedError as exc:
                if isinstance(exc.__cause__, RefusedError) and exc.__cause__.reason in GONE:
                    raise gone(self.job) from exc
                raise ApiProblem(
                    502,
                    "files_not_served",
                    f"the node has not the files that its receipt states: {exc}",
                    job_id=self.job.job_id,
                ) from exc


def product_with(products: Sequence[Product], path: str) -> Product | None:
    """Return the output that a file would be in, None if there is no such output."""
    for product in products:
        if product.path in (ROOT, path) or path.startswith(f"{product.path}/"):
            return product
    return None


def checked_file(entry: LeftEntry) -> LeftEntry:
    """Return an entry that is a file. Raises: `ApiProblem`."""
    if entry.kind != "file":
        raise ApiProblem(
            404,
            "not_found",
            "it is a directory, and no file",
            hint="list its files with: GET /v1/jobs/JOB/files",
        )
    return entry


def no_file(path: str) -> ApiProblem:
    """Return the problem of a path that the job left no file of."""
    return ApiProblem(
        404,
        "not_found",
        f"the job left no file {path[:200]!a}",
        hint="list its files with: GET /v1/jobs/JOB/files",
    )


def listing_json(receipt: Receipt, entries: Sequence[LeftEntry], after: int, limit: int) -> dict[str, Any]:
    """Return a page of the files that a job left as JSON data. `after`: how many entries the pages before had."""
    left = {product.path for product in receipt.files}
    asked = receipt.asked.files
    page = entries[after : after + limit]
    answer: dict[str, Any] = {
        "outputs": [attrs.asdict(product) for product in receipt.files],
        "missing": [] if asked is None else [path for path in asked.outputs if path not in left],
        "files": [_entry_json(entry) for entry in page],
    }
    if after + len(page) < len(entries):
        answer["next"] = str(after + len(page))
    return answer


def _entry_json(entry: LeftEntry) -> dict[str, Any]:
    found = {
        "path": entry.path,
        "kind": entry.kind,
        "sizeBytes": entry.size_bytes,
        "sha256": entry.sha256,
    }
    return {name: value for name, value in found.items() if value is not None}


def file_headers(path: str) -> dict[str, str]:
    """Return the headers of a file that a job left: a browser may save it, and never show it as a page of ours."""
    name = path.rpartition("/")[2]
    plain = _PLAIN.sub("_", name)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
    }


@attrs.frozen(kw_only=True)
class FileBody:
    """Writes bytes of an output, as its node sends them. `offset`: where they begin in the output.

    `check_token`: raises `ApiProblem` once the token may not read it any more.
    """

    jobs: WebJobs
    job: WebJob
    product: Product
    offset: int
    size: int
    sha256: str
    headers: dict[str, str]
    wanted: Wanted
    check_token: Callable[[], None]

    async def produce(self, start: Start) -> None:
        """Write them. Raises: `ApiProblem`, and what the client of the daemon raises."""
        part = self.wanted.part(self.size, self.sha256)
        headers = part.headers if part.code == 304 else {**self.headers, **part.headers}
        if part.first == part.end:
            await start(part.code, headers)
            return
        write: Write | None = None
        sent = 0

        def begin(contents: OutputContents) -> None:
            if contents.kind != self.product.kind or contents.size < self.offset + part.end:
                raise ApiProblem(502, "files_not_served", "the node has another file than its receipt states")

        async def take(data: bytes) -> None:
            nonlocal write, sent
            self.check_token()
            if write is None:
                write = await start(part.code, headers)
            await write(data)
            sent += len(data)

        async with (
            telling_gone(self.job),
            self.jobs.client.dialler.converse(self.job.handle.peer) as (link, _),
        ):
            await session.fetch(
                link,
                self.job.handle,
                self.product.path,
                offset=self.offset + part.first,
                length=part.end - part.first,
                begin=begin,
                take=take,
            )
        if sent != part.end - part.first:
            raise ConnectionLostError("the node has sent another number of bytes")
