"""Bodies of requests: multipart forms and single files, read piece by piece into unnamed files.

Every size is bounded before it is stored, and the body has to come at a least rate.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

import attrs
import trio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from plasm_core.client.upload import Source
from plasm_core.scratch_file import scratch_file
from plasm_core.web.problems import ApiProblem, invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_TEXT_BYTES = 8 << 20
"""All parts of a form together that are kept in memory."""
MAX_PARTS = 10_000
LEAST_BYTES_PER_S = 16 << 10
GRACE_S = 30.0
"""A body may take this long, and beside it what its bytes take at the least rate."""
_FLUSH_BYTES = 1 << 20
_MAX_PART_HEADERS = 8
_MAX_PART_HEADER_BYTES = 1024


class StoredFile(Source):
    """Received bytes in an unnamed file, with their size and digest."""

    def __init__(self, file: IO[bytes], size_bytes: int, digest: str) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._digest = digest

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    @property
    def digest(self) -> str:
        return self._digest

    def read(self, offset: int, maximum: int) -> bytes:
        return os.pread(self._file.fileno(), max(0, min(maximum, self._size_bytes - offset)), offset)

    def close(self) -> None:
        self._file.close()


class _Growing:
    """A file while it is received. Bytes are gathered in memory, at most `_FLUSH_BYTES` and one piece."""

    def __init__(self, name: str, maximum: int) -> None:
        self._name = name
        self._maximum = maximum
        self._file = scratch_file()
        self._gathered = bytearray()
        self._sha256 = hashlib.sha256()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._maximum:
            raise too_large(f"{self._name} is larger than {self._maximum:,} bytes")
        self._gathered += data

    async def flush(self, least: int = _FLUSH_BYTES) -> None:
        if len(self._gathered) >= least:
            data, self._gathered = self._gathered, bytearray()
            await trio.to_thread.run_sync(self._store, data)

    def _store(self, data: bytearray) -> None:
        self._sha256.update(data)
        self._file.write(data)

    async def done(self) -> StoredFile:
        await self.flush(1)
        await trio.to_thread.run_sync(self._file.flush)
        return StoredFile(self._file, self._size, self._sha256.hexdigest())

    def close(self) -> None:
        self._file.close()


def too_large(detail: str) -> ApiProblem:
    """Return the problem of a body that is too large."""
    return ApiProblem(413, "too_large", detail)


async def pieces(request: Request, maximum: int) -> AsyncIterator[bytes]:
    """Yield a request's body. Raises: `ApiProblem` if it is larger than `maximum` bytes, breaks off or comes too slowly."""
    given = request.headers.get("content-length")
    if given is not None and given.isascii() and given.isdigit() and int(given) > maximum:
        raise too_large(f"the body is larger than {maximum:,} bytes")
    began, size = trio.current_time(), 0
    body = request.stream().__aiter__()
    while True:
        try:
            with trio.fail_at(began + GRACE_S + size / LEAST_BYTES_PER_S):
                data = await body.__anext__()
        except StopAsyncIteration:
            return
        except trio.TooSlowError:
            raise ApiProblem(
                408, "too_slow", "the body of the request came too slowly", headers={"Connection": "close"}
            ) from None
        except ClientDisconnect:
            raise ApiProblem(400, "broken_off", "the request broke off") from None
        size += len(data)
        if size > maximum:
            raise too_large(f"the body is larger than {maximum:,} bytes")
        if data:
            yield data


@attrs.define
class Form:
    """A received form: texts by name in order, and files with the names that the client gave them."""

    texts: dict[str, list[bytes]] = attrs.field(factory=dict)
    files: dict[str, StoredFile] = attrs.field(factory=dict)
    file_names: dict[str, str] = attrs.field(factory=dict)

    def one(self, name: str) -> bytes | None:
        """Return the text of a field that may be given once. Raises: `ApiProblem`."""
        found = self.texts.get(name, [])
        if len(found) > 1:
            raise invalid(name, "given more than once")
        return found[0] if found else None


class _FormReader:
    """Takes what the parser finds, part by part."""

    def __init__(self, texts: frozenset[str], files: Mapping[str, int]) -> None:
        self.form = Form()
        self._texts, self._files = texts, files
        self._parts = self._text_bytes = 0
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text: bytearray | None = None
        self._file: _Growing | None = None
        self.growing: dict[str, _Growing] = {}
        self.is_complete = False

    @property
    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._start,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise too_large(f"the form has more than {MAX_PARTS:,} parts")
        self._headers, self._field, self._value = {}, b"", b""
        self._text = self._file = None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _start(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not self._name:
            raise invalid("body", "a part has no Content-Disposition with a name")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
            raise invalid(self._name, "its Content-Transfer-Encoding is not one of a form")
        if self._name in self._files:
            if self._name in self.growing:
                raise invalid(self._name, "given more than once")
            self._file = self.growing[self._name] = _Growing(self._name, self._files[self._name])
            given = options.get(b"filename", b"").decode("utf-8", "replace")
            self.form.file_names[self._name] = given.replace("\\", "/").rpartition("/")[2]
        elif self._name in self._texts:
            self._text = bytearray()
        else:
            known = ", ".join(sorted({*self._texts, *self._files}))
            raise invalid(self._name[:64], f"no such part; there are {known}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.add(data[start:end])
        elif self._text is not None:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise too_large(f"the texts of the form are larger than {MAX_TEXT_BYTES:,} bytes")
            self._text += data[start:end]

    def _part_end(self) -> None:
        if self._text is not None:
            self.form.texts.setdefault(self._name, []).append(bytes(self._text))
        self._text = self._file = None

    def _end(self) -> None:
        self.is_complete = True


_PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")


@asynccontextmanager
async def received_form(
    request: Request, *, texts: frozenset[str], files: Mapping[str, int]
) -> AsyncIterator[Form]:
    """Receive a multipart form; its files are deleted when the context ends.

    `texts`: the names of fields kept in memory; `files`: the greatest size of each file, in bytes. Raises: `ApiProblem`.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiProblem(
            415,
            "unsupported_media_type",
            "the body has to be multipart/form-data with a boundary",
            hint="send it as curl -F module=@hello.wasm does",
        )
    reader = _FormReader(texts, files)
    try:
        parser = _parser(boundary, reader.callbacks)
        maximum = sum(files.values()) + MAX_TEXT_BYTES + MAX_PARTS * 256
        async for data in pieces(request, maximum):
            _parse(parser.write, data)
            for growing in reader.growing.values():
                await growing.flush()
        if not reader.is_complete:
            raise ApiProblem(400, "malformed_form", "the form breaks off before its last boundary")
        for name, growing in reader.growing.items():
            reader.form.files[name] = await growing.done()
        yield reader.form
    finally:
        for growing in reader.growing.values():
            growing.close()


def _parser(boundary: bytes, callbacks: MultipartCallbacks) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            callbacks,
            max_header_count=_MAX_PART_HEADERS,
            max_header_size=_MAX_PART_HEADER_BYTES,
        )
    except FormParserError as exc:
        raise ApiProblem(400, "malformed_form", str(exc)) from exc


def _parse(write: Callable[[bytes], int], data: bytes) -> None:
    try:
        write(data)
    except FormParserError as exc:
        raise ApiProblem(400, "malformed_form", f"the form is not well formed: {exc}") from exc


@asynccontextmanager
async def received_file(request: Request, name: str, maximum: int) -> AsyncIterator[StoredFile]:
    """Receive a body as one file, which is deleted when the context ends. Raises: `ApiProblem`."""
    growing = _Growing(name, maximum)
    try:
        async for data in pieces(request, maximum):
            growing.add(data)
            await growing.flush()
        yield await growing.done()
    finally:
        growing.close()
