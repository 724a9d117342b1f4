"""The cache of verified results by task digest, so that an equal task is not run twice (`--reuse`).

A task fixes output, exit code and gas, so that the verified result of an equal task is this task's result, too. The
cache is in a directory that only this user may enter. Still, each entry's receipt is verified again when it is used,
with the outputs in the entry. The other facts of the verdict, and the node's standing, are those of the first
verification. An entry is one file: a line of JSON, the manifest of the job that was run, its envelope, stdout and
stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from plasm_core import assurance
from plasm_core.assurance import Standing
from plasm_core.client.output import Sink
from plasm_core.client.result import JobResult
from plasm_core.errors import PlasmError
from plasm_core.ownership import check_file, open_regular
from plasm_core.paths import cache_directory, private_directory
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import Decision, Envelope, Handle, Manifest, Opinion, PeerId, sha256
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.records.verdict import BINDINGS
from plasm_core.verification import Expectation, verify

log = logging.getLogger(__name__)

FORMAT = "plasm.reuse/v1"
MAX_ENTRY_BYTES = 32 << 20
"""The most output of a job that is kept, both streams together."""
MAX_BYTES = 512 << 20
"""The most that is kept in all. The results that were used the longest ago are forgotten first."""
MAX_ENTRIES = 100_000
_MAX_HEADER_BYTES = 64 << 10
_MAX_RECORD_BYTES = 1 << 20
_LEFT_OVER_S = 3600
_FRESH_S = 30.0
"""How long it is believed that a node is not convicted: another process may have learnt more."""
_MAX_NODES = 4096
_NAME = re.compile(r"[0-9a-f]{64}")


class Copying(Sink):
    """Passes output on, and keeps a copy unless it exceeds the limit of an entry."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._kept: dict[OutputStream, bytearray] | None = _nothing()

    @property
    def in_memory(self) -> bool:
        return self._sink.in_memory

    def write(self, stream: OutputStream, data: bytes) -> None:
        if self._kept is not None:
            if sum(map(len, self._kept.values())) + len(data) > MAX_ENTRY_BYTES:
                self._kept = None
            else:
                self._kept[stream] += data
        self._sink.write(stream, data)

    def restart(self) -> None:
        self._kept = _nothing()
        self._sink.restart()

    def settle(self) -> None:
        self._sink.settle()

    @property
    def outputs(self) -> dict[OutputStream, bytes] | None:
        """Both outputs; None if there were too many bytes."""
        return None if self._kept is None else {stream: bytes(data) for stream, data in self._kept.items()}


def _nothing() -> dict[OutputStream, bytearray]:
    return {stream: bytearray() for stream in OutputStream}


@attrs.frozen(kw_only=True)
class KeptResult:
    """A result of the cache, verified again: the result without its output, and the output."""

    result: JobResult
    outputs: dict[OutputStream, bytes]


class ResultCache:
    """The verified results of one user. Several processes may use it at once.

    No method raises: a result that cannot be read or stored is one that is not there, and a line of the log.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._given = directory
        self._convicted: dict[PeerId, tuple[float, bool]] = {}
        self._added_bytes = self._added = -1
        self._complained: set[str] = set()

    def find(
        self,
        manifest: Manifest,
        verifiers: Sequence[Verifier],
        *,
        require: str,
        denied: Collection[str] = (),
        strangers: bool = False,
    ) -> KeptResult | None:
        """Return an earlier result of an equal task with the required assurance, or None.

        `verifiers`: `signature` must accept it now; each other verifier must have accepted it then, with the same
        settings. `denied`: PeerIds of nodes whose results are not used. `strangers`: whether nodes that the user does
        not know may run the job; if not, the mere word of such a node is not used either.
        """
        if not _is_kept(manifest):
            return None
        try:
            path = self._directory() / manifest.task_digest
            with open_regular(path) as file:
                check_file(os.fstat(file.fileno()), path)
                header = json.loads(file.readline(_MAX_HEADER_BYTES))
                sizes = _sizes(header)
                parts = [file.read(size) for size in sizes]
                if [len(part) for part in parts] != sizes or file.read(1):
                    raise ValueError("its length is wrong")
            kept = _verified(header, parts, manifest, verifiers)
            if kept is None or str(kept.result.receipt.node) in denied:
                return None
            if self._is_convicted(kept.result.receipt.node):
                return None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError, PlasmError) as exc:
            self._complain("kept result not usable", manifest, exc)
            return None
        if assurance.lacking(require, kept.result.verdict, kept.result.standing) is not None:
            return None
        if not strangers and assurance.is_mere_word(kept.result.verdict, kept.result.standing):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # record the use
        return kept

    def keep(
        self,
        manifest_json: bytes,
        result: JobResult,
        outputs: dict[OutputStream, bytes] | None,
        verifiers: Sequence[Verifier],
    ) -> None:
        """Store a result that `verifiers` have accepted, if the task alone determines it."""
        manifest = Manifest.from_json(manifest_json)
        if (
            outputs is None
            or result.reused
            or sum(map(len, outputs.values())) > MAX_ENTRY_BYTES
            or not _is_kept(manifest)
            or not result.outcome.recheckable
            or result.verdict.decision is not Decision.ACCEPT
        ):
            return
        parts = [manifest_json, result.envelope.to_json(), *(outputs[stream] for stream in OutputStream)]
        header = {
            "format": FORMAT,
            "sizes": [len(part) for part in parts],
            "state": result.state,
            "standing": result.standing.name,
            "signer": str(result.receipt.node),
            "settings": _settings(verifiers),
            "opinions": [_opinion_json(item) for item in _others(result.verdict.opinions)],
        }
        line = json.dumps(header).encode() + b"\n"
        if len(line) > _MAX_HEADER_BYTES:
            return
        try:
            directory = self._directory()
            self._make_room(directory, len(line) + sum(map(len, parts)))
            draft = directory / f".{secrets.token_hex(16)}.new"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                    file.writelines([line, *parts])
                os.replace(draft, directory / manifest.task_digest)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as exc:
            self._complain("result not kept", manifest, exc)

    def _complain(self, what: str, manifest: Manifest, exc: Exception) -> None:
        """Log a problem: once at level warning, since a full disk is one for each job of a batch."""
        level = logging.DEBUG if what in self._complained else logging.WARNING
        self._complained.add(what)
        log.log(level, "%s task=%s error=%s", what, manifest.task_digest, exc)

    def _directory(self) -> Path:
        return private_directory(self._given or cache_directory() / "results")

    def _is_convicted(self, peer: PeerId) -> bool:
        """Return whether a fraud proof against a node is known by now. Raises: OSError, `PlasmError`."""
        from plasm_core.client import (
            reputation_store,
        )  # SQLite takes as long to import as a small job takes to run

        now = time.monotonic()
        at, found = self._convicted.get(peer, (now - _FRESH_S, False))
        if now - at >= _FRESH_S:
            path = reputation_store.default_path()
            found = False
            if path.exists():
                with reputation_store.ReputationStore(path) as store:
                    found = store.find(peer).is_convicted
            if len(self._convicted) >= _MAX_NODES:
                self._convicted.clear()
            self._convicted[peer] = now, found
        return found

    def _make_room(self, directory: Path, size_bytes: int) -> None:
        """Delete the least recently used entries until an entry of the given size has room. Raises: OSError.

        The directory is scanned only after a sixteenth of the room may have been filled since the last scan.
        """
        self._added_bytes, self._added = self._added_bytes + size_bytes, self._added + 1
        if 0 < self._added < MAX_ENTRIES // 16 and self._added_bytes < MAX_BYTES // 16:
            return
        self._added_bytes = self._added = 0
        found = []
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if _NAME.fullmatch(entry.name):
                        found.append((status.st_mtime, status.st_size, entry.path))
                    elif status.st_mtime < time.time() - _LEFT_OVER_S:
                        os.unlink(entry.path)  # of a process that was killed while it wrote
        total = sum(size for _, size, _ in found) + size_bytes
        count = len(found) + 1
        for _, size, path in sorted(found):
            if total <= MAX_BYTES - MAX_BYTES // 16 and count <= MAX_ENTRIES - MAX_ENTRIES // 16:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            total, count = total - size, count - 1


def _is_kept(manifest: Manifest) -> bool:
    """Return whether the manifest's result is fixed by its task, and has no files, which are not kept."""
    return manifest.reproducible and manifest.files is None


def _sizes(header: Any) -> list[int]:
    """Return the sizes of the parts behind the header. Raises: ValueError, KeyError, TypeError."""
    if header["format"] != FORMAT:
        raise ValueError(f"it has the format {header['format']!r:.40}")
    sizes = header["sizes"]
    if len(sizes) != 4 or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("its sizes are none")
    if max(sizes[:2]) > _MAX_RECORD_BYTES or sum(sizes[2:]) > MAX_ENTRY_BYTES:
        raise ValueError("it is too large")
    return list(sizes)


def _verified(
    header: Any, parts: list[bytes], wanted: Manifest, verifiers: Sequence[Verifier]
) -> KeptResult | None:
    """Verify a kept result; None if it establishes too little. Raises: ValueError, KeyError, TypeError, `PlasmError`."""
    manifest_json, envelope_json, *written = parts
    outputs = dict(zip(OutputStream, written, strict=True))
    manifest = Manifest.from_json(manifest_json)
    if manifest.task_digest != wanted.task_digest:
        raise ValueError("it belongs to another task")
    others, kept_settings = [_opinion_of(item) for item in header["opinions"]], dict(header["settings"])
    signature = [verifier for verifier in verifiers if verifier.name == "signature"]
    before = {item.verifier: kept_settings.get(item.verifier) for item in others}
    settings = _settings(verifiers)
    if not signature or any(before.get(name) != now for name, now in settings.items()):
        return None
    signer = PeerId.parse(header["signer"])
    receipt, verdict = verify(
        envelope_json,
        Expectation(peer=signer, manifest_json=manifest_json, outputs=dict(_digests(outputs))),
        signature,
    )
    if receipt is None or verdict.decision is not Decision.ACCEPT:
        raise ValueError("; ".join(verdict.reasons) or "its receipt is not verified")
    if not receipt.result.outcome.recheckable:
        raise ValueError("its outcome is not fixed by its task alone")
    standing = Standing[header["standing"]]
    verdict = attrs.evolve(verdict, opinions=(*verdict.opinions, *others), standing=standing)
    result = JobResult(
        handle=Handle(job_id=receipt.asked.job_id, secret=secrets.token_bytes(32), peer=signer),
        state=receipt.result.outcome.state,
        receipt=receipt,
        envelope=Envelope.from_json(envelope_json),
        verdict=verdict,
        standing=standing,
        earlier=manifest_json,
    )
    return KeptResult(result=result, outputs=outputs)


def _settings(verifiers: Sequence[Verifier]) -> dict[str, str]:
    """Return a digest of each verifier's settings: a quorum of two is none of five."""
    found = {}
    for verifier in verifiers:
        fields = getattr(type(verifier), "__attrs_attrs__", ())
        values = {field.name: getattr(verifier, field.name) for field in fields if field.init}
        if verifier.name != "signature":
            found[verifier.name] = sha256(json.dumps(values, sort_keys=True, default=repr).encode())
    return found


def _digests(outputs: dict[OutputStream, bytes]) -> Iterator[tuple[OutputStream, OutputDigest]]:
    for stream, data in outputs.items():
        hasher = OutputHasher()
        hasher.update(data)
        yield stream, hasher.digest


def _others(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Return the opinions that cannot be formed again from the receipt alone."""
    return [item for item in opinions if item.verifier not in (BINDINGS, "signature")]


def _opinion_json(item: Opinion) -> dict[str, Any]:
    return {
        "verifier": item.verifier,
        "reasons": list(item.reasons),
        "established": list(item.established),
        "signers": [str(peer) for peer in item.signers],
        "checked": [str(peer) for peer in item.checked],
        "error": item.error,
    }


def _opinion_of(item: Any) -> Opinion:
    """Return an opinion that accepted. Raises: ValueError, KeyError, TypeError."""
    error = item["error"]
    return Opinion(
        verifier=str(item["verifier"]),
        decision=Decision.ACCEPT,
        reasons=tuple(map(str, item["reasons"])),
        established=tuple(map(str, item["established"])),
        signers=tuple(map(PeerId.parse, item["signers"])),
        checked=tuple(map(PeerId.parse, item["checked"])),
        error=None if error is None else float(error),
    )
