"""Ranges and validators of requests for bytes (RFC 9110, sections 13 and 14): 200, 206, 304 or 416."""

from __future__ import annotations

import re

import attrs
from starlette.requests import Request

from plasm_core.web.problems import ApiProblem

_RANGE = re.compile(r"bytes=(?:([0-9]{1,16})-([0-9]{1,16})?|-([0-9]{1,16}))")


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte of a range and the one behind its last; None if all is meant (RFC 9110, section 14).

    A header that cannot be read, or with several ranges, means all. Raises: `ApiProblem` if no byte is in the range.
    """
    found = None if text is None else _RANGE.fullmatch(text.strip())
    if found is None:
        return None
    first, last, suffix = (None if item is None else int(item) for item in found.groups())
    if suffix is not None:
        start, end = max(0, size - suffix), size
    else:
        assert first is not None
        start, end = first, size if last is None else min(last + 1, size)
        if last is not None and last < first:
            return None
    if start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise ApiProblem(416, "bad_range", f"there are {size} bytes", headers=headers)
    return start, end


def matches(header: str, etag: str) -> bool:
    """Return whether If-None-Match names a tag. `etag`: with its quotes."""
    return header.strip() == "*" or etag in (item.strip().removeprefix("W/") for item in header.split(","))


def range_of(request: Request) -> str | None:
    """Return the header Range of a request; None if there is none, or the method is not GET: it has a meaning there only."""
    return request.headers.get("range") if request.method == "GET" else None


@attrs.frozen(kw_only=True)
class RangePart:
    """The part of some bytes to answer with: from `first` to before `end`. Of a 304 and a HEAD, nothing is sent."""

    code: int
    headers: dict[str, str]
    first: int
    end: int


@attrs.frozen(kw_only=True)
class Wanted:
    """What a request wants of bytes that do not change: its method and headers."""

    is_head: bool = False
    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """Return what a request wants."""
        return cls(
            is_head=request.method == "HEAD",
            range=range_of(request),
            if_range=request.headers.get("if-range"),
            if_none_match=request.headers.get("if-none-match"),
        )

    def part(self, size: int, sha256: str) -> RangePart:
        """Return the part to send, with its headers. `sha256`: the digest of all bytes. Raises: `ApiProblem`."""
        etag = f'"{sha256}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if self.if_none_match is not None and matches(self.if_none_match, etag):
            return RangePart(code=304, headers={"ETag": etag}, first=0, end=0)
        is_same = self.if_range is None or self.if_range.strip() == etag
        wanted = parse_range(self.range, size) if is_same else None
        first, end = wanted or (0, size)
        headers["Content-Length"] = str(end - first)
        if wanted is not None:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        return RangePart(
            code=200 if wanted is None else 206,
            headers=headers,
            first=first,
            end=first if self.is_head else end,
        )
