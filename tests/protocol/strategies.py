"""Bytes, messages and streams to try the protocol's machines with."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from hypothesis import strategies as st

HERE = Path(__file__).parents[1] / "vectors"
_FILES = [json.loads((HERE / name).read_text()) for name in ("protocol.json", "file_transfer.json")]
VECTORS = {kind: [item for file in _FILES for item in file[kind]] for kind in ("messages", "data")}


def frames_of(side: str) -> list[bytes]:
    """Return a frame of each message and channel that one side sends."""
    items = [*VECTORS["messages"], *VECTORS["data"]]
    return [bytes.fromhex(item["frame_hex"]) for item in items if item["from"] == side]


def cut(stream: bytes, points: list[int]) -> list[bytes]:
    """Return a stream in pieces, cut at points that may lie anywhere."""
    places = sorted({min(point, len(stream)) for point in points})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def splits(stream: bytes) -> st.SearchStrategy[list[bytes]]:
    """Return the ways to cut a stream into pieces."""
    return st.lists(st.integers(0, len(stream)), max_size=20).map(lambda points: cut(stream, points))


lengths = st.one_of(
    st.sampled_from([0, 1, 2, 10, 11, 65_546, 65_547, 131_073, 131_074, 2**31, 2**32 - 1]),
    st.integers(0, 2**32 - 1),
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
        ),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode()),
)


@st.composite
def hostile_frames(draw: st.DrawFn) -> bytes:
    """Return a frame whose length, type or body is anything."""
    body = draw(bodies)
    honest = 1 + len(body)
    length = draw(st.one_of(st.just(honest), lengths))
    return struct.pack(">I", length) + bytes([draw(st.sampled_from([0, 0, 1, 1, 2, 255]))]) + body


def mangled(frame: bytes) -> st.SearchStrategy[bytes]:
    """Return a frame with some bytes changed, left out or put in."""

    def mangle(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(frame)
        for start, length, put in changes:
            data[start : start + length] = put
        return bytes(data)

    change = st.tuples(st.integers(0, len(frame)), st.integers(0, 8), st.binary(max_size=8))
    return st.lists(change, max_size=3).map(mangle)


def streams(side: str) -> st.SearchStrategy[bytes]:
    """Return what a hostile side may send: its frames in any order and number, mangled ones, and garbage."""
    proper = frames_of(side)
    frame = st.sampled_from(proper)
    piece = st.one_of(frame, frame, frame, frame.flatmap(mangled), hostile_frames(), st.binary(max_size=50))
    return st.lists(piece, max_size=12).map(b"".join)
