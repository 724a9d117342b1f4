"""Multipart forms (RFC 7578), read part by part: texts into memory, files into unnamed files.

Every size is bounded before it is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from plasm_core.web.problems import ApiProblem, invalid
from plasm_core.web.uploads import GrowingFile, StoredFile, disk_file, pieces, too_large

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_TEXT_BYTES = 8 << 20
"""All parts of a form together that are kept in memory, and the names of its files."""
MAX_PARTS = 10_000
_MAX_PART_HEADERS = 8
_MAX_PART_HEADER_BYTES = 4096
_HEAD_BYTES = 512


@attrs.frozen(kw_only=True)
class FileField:
    """A part whose bytes go into an unnamed file. `maximum`: the most bytes, of all parts of the name together.

    `repeats`: it may come many times, each with a path as its filename; all of them share one file. `taking`: called
    with the size of each piece before it is kept, for files of a job: those lie on the disk, whatever holds others.
    """

    maximum: int
    repeats: bool = False
    taking: Callable[[int], None] | None = None

    def begin(self, name: str) -> GrowingFile:
        """Return the file to receive into. Raises: `StorageError`."""
        if self.taking is None:
            return GrowingFile(name, self.maximum)
        return GrowingFile(name, self.maximum, scratch=disk_file, taking=self.taking, is_hashed=False)


@attrs.frozen(kw_only=True)
class NamedPart:
    """One of the parts that share a file: its filename, and where its bytes are."""

    path: str
    offset: int
    size_bytes: int


@attrs.define
class Form:
    """A received form: texts by name in order, and files with the names that the client gave them.

    `named`: the parts of a field that repeats, in order; their bytes are in the field's file.
    """

    texts: dict[str, list[bytes]] = attrs.field(factory=dict)
    files: dict[str, StoredFile] = attrs.field(factory=dict)
    file_names: dict[str, str] = attrs.field(factory=dict)
    named: dict[str, list[NamedPart]] = attrs.field(factory=dict)

    def one(self, name: str) -> bytes | None:
        """Return the text of a field that may be given once; None if it was not. Raises: `ApiProblem`."""
        found = self.texts.get(name, [])
        if len(found) > 1:
            raise invalid(name, "given more than once")
        return found[0] if found else None


class _FormReader:
    """Takes what the parser finds, part by part."""

    def __init__(self, texts: frozenset[str], files: Mapping[str, FileField]) -> None:
        self.form = Form()
        self._texts, self._files = texts, files
        self._parts = self._text_bytes = 0
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = self._path = ""
        self._began_at = 0
        self._text: bytearray | None = None
        self._file: GrowingFile | None = None
        self.growing: dict[str, GrowingFile] = {}
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
            self._start_file(self._files[self._name], options.get(b"filename", b""))
        elif self._name in self._texts:
            self._text = bytearray()
        else:
            known = ", ".join(sorted({*self._texts, *self._files}))
            raise invalid(self._name[:64], f"no such part; there are {known}")

    def _start_file(self, field: FileField, given: bytes) -> None:
        if self._name in self.growing and not field.repeats:
            raise invalid(self._name, "given more than once")
        if field.repeats:
            self._count_text(len(given))
            self._path = _exact_path(self._name, given, self._headers[b"content-disposition"])
        else:
            name = given.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
            self.form.file_names[self._name] = name
        if self._name not in self.growing:
            self.growing[self._name] = field.begin(self._name)
        self._file = self.growing[self._name]
        self._began_at = self._file.size_bytes

    def _count_text(self, size: int) -> None:
        self._text_bytes += size
        if self._text_bytes > MAX_TEXT_BYTES:
            raise too_large(f"the texts of the form are larger than {MAX_TEXT_BYTES:,} bytes")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.add(data[start:end])
        elif self._text is not None:
            self._count_text(end - start)
            self._text += data[start:end]

    def _part_end(self) -> None:
        if self._text is not None:
            self.form.texts.setdefault(self._name, []).append(bytes(self._text))
        if self._file is not None and self._files[self._name].repeats:
            size = self._file.size_bytes - self._began_at
            part = NamedPart(path=self._path, offset=self._began_at, size_bytes=size)
            self.form.named.setdefault(self._name, []).append(part)
        self._text = self._file = None

    def _end(self) -> None:
        self.is_complete = True


_PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")
_AMBIGUOUS = (b"\\", b"%22", b"%0a", b"%0d")
"""What clients write in different ways: a quote is `\\"` for some and `%22` for others, which may mean themselves."""


def _exact_path(name: str, given: bytes, disposition: bytes) -> str:
    """Return a filename as the path that every client means by it. Raises: `ApiProblem`."""
    if not given:
        raise invalid(name, "the part has no filename, which is the path of the file in the job's tree")
    try:
        path = given.decode()
    except UnicodeDecodeError:
        raise invalid(name, "the filename is not UTF-8") from None
    if any(mark in disposition.lower() for mark in _AMBIGUOUS):
        raise invalid(
            name, "a filename with \\, %22, %0A or %0D is ambiguous: send such files in an archive or a pack"
        )
    return path


@asynccontextmanager
async def received_form(
    request: Request, *, texts: frozenset[str], files: Mapping[str, FileField]
) -> AsyncIterator[Form]:
    """Receive a multipart form; its files are deleted when the context ends.

    `texts`: the names of fields kept in memory. Raises: `ApiProblem`.
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
        sizes = sum(field.maximum for field in files.values())
        maximum = sizes + MAX_TEXT_BYTES + MAX_PARTS * _HEAD_BYTES
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
