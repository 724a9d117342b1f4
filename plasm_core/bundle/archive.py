"""Read a bundle that somebody else made: nothing is unpacked, and every size is bounded."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from plasm_core.bundle.contents import MAX_RECEIPTS, SignedReceipt
from plasm_core.bundle.crate import FILES, KEYS, METADATA, RECEIPTS
from plasm_core.errors import BundleError, InvalidRecordError
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.output import EMPTY_SHA256

MAX_ENTRIES = 4 * MAX_RECEIPTS
MAX_FILE_BYTES = 1 << 30
MAX_BYTES = 8 << 30
_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class Archive:
    """A bundle as read: its receipts by name, and the size of each file by the SHA-256 computed from its bytes.

    `problems`: what is wrong with it. `others`: files that no receipt covers.
    """

    path: Path
    receipts: Mapping[str, SignedReceipt]
    sizes: Mapping[str, int]
    problems: tuple[str, ...]
    others: tuple[str, ...]

    def read(self, digest: str, maximum: int) -> bytes:
        """Return a file's bytes. Raises: `BundleError` if it is not there, larger, or has changed."""
        if digest == EMPTY_SHA256:
            return b""
        if self.sizes.get(digest, maximum + 1) > maximum:
            raise BundleError(f"{FILES}{digest} is missing, or has more than {maximum} bytes")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(FILES + digest) as file:
                data = file.read(maximum + 1)
        except (OSError, KeyError, zipfile.BadZipFile) as exc:
            raise BundleError(f"cannot read {FILES}{digest}: {exc}") from exc
        if hashlib.sha256(data).hexdigest() != digest:
            raise BundleError(f"{FILES}{digest} has changed")
        return data


def is_bundle(path: str) -> bool:
    """Return whether a file is a zip file."""
    try:
        return zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False


def read_archive(path: Path) -> Archive:
    """Read a bundle, and compute every file's digest. Raises: `BundleError` if it cannot be read."""
    receipts: dict[str, SignedReceipt] = {}
    sizes: dict[str, int] = {EMPTY_SHA256: 0}
    problems: list[str] = []
    others: list[str] = []
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ENTRIES:
                raise BundleError(f"{path} has more than {MAX_ENTRIES} files")
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names):
                raise BundleError(f"{path} has two files of one name")
            for entry in entries:
                if entry.is_dir():
                    continue
                name, maximum = entry.filename, MAX_FILE_BYTES
                if name.startswith(RECEIPTS):
                    maximum = MAX_ENVELOPE_BYTES
                elif not name.startswith(FILES):
                    if name != METADATA and not name.startswith(KEYS):
                        others.append(name)
                    continue
                hasher, kept, size = hashlib.sha256(), bytearray(), 0
                with archive.open(entry) as file:
                    while data := file.read(_CHUNK_BYTES):
                        size += len(data)
                        left -= len(data)
                        if size > maximum or left < 0:
                            raise BundleError(
                                f"{name} has more than {maximum} bytes, or all files have more than {MAX_BYTES}"
                            )
                        hasher.update(data)
                        if name.startswith(RECEIPTS):
                            kept += data
                if name.startswith(RECEIPTS):
                    try:
                        receipts[name] = SignedReceipt.read(bytes(kept))
                    except InvalidRecordError as exc:
                        problems.append(f"{name}: {exc}")
                    continue
                digest = name.removeprefix(FILES)
                if not re.fullmatch("[0-9a-f]{64}", digest) or digest != hasher.hexdigest():
                    problems.append(f"{name} has another digest: {hasher.hexdigest()}")
                    continue
                sizes[digest] = size
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as exc:
        raise BundleError(f"{path} is no bundle that can be read: {exc}") from exc
    if not receipts and not problems:
        problems.append("there is no receipt in it")
    named = {digest for item in receipts.values() for digest in item.digests.values()}
    named |= {item.receipt.asked.job_id for item in receipts.values()}
    others += [FILES + digest for digest in sizes if digest not in named and digest != EMPTY_SHA256]
    return Archive(path=path, receipts=receipts, sizes=sizes, problems=tuple(problems), others=tuple(others))
