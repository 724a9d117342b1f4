"""The architecture diagram: a picture of docs/architecture-diagram.svg that says which SVG it is of."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zlib
from collections.abc import Iterator

from docs.generate import DOCS

SVG = DOCS / "architecture-diagram.svg"
PNG = DOCS / "architecture-diagram.png"
_MAGIC = b"\x89PNG\r\n\x1a\n"
_WIDTH = "1600"


def is_current() -> bool:
    """Return whether the picture was made from the SVG as it is."""
    return PNG.exists() and _stamp() in list(_chunks(PNG.read_bytes()))


def write() -> None:
    """Make the picture with rsvg-convert (Debian: librsvg2-bin). Fonts: DejaVu Sans (fonts-dejavu-core)."""
    made = subprocess.run(
        ["rsvg-convert", "--width", _WIDTH, str(SVG)], capture_output=True, check=True
    ).stdout
    header, *others = _chunks(made)
    PNG.write_bytes(_MAGIC + b"".join(map(_encoded, (header, _stamp(), *others))))


def _stamp() -> tuple[bytes, bytes]:
    digest = hashlib.sha256(SVG.read_bytes()).hexdigest()
    return b"tEXt", f"Source\0sha256:{digest}".encode()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and data of each chunk (PNG specification, section 5.3)."""
    if not data.startswith(_MAGIC):
        raise ValueError(f"{PNG.name} is not a PNG")
    offset = len(_MAGIC)
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        offset += 12 + length


def _encoded(chunk: tuple[bytes, bytes]) -> bytes:
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
