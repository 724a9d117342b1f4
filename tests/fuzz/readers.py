"""What Python's readers make of an input, in the form in which `php/tests/Support/readers.php` tells what PHP's do."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from plasm_core import tree_listing
from plasm_core.errors import InvalidRecordError, ProtocolError
from plasm_core.protocol.messages import FROM_NODE, Credit, Possessed, encode, parse
from plasm_core.records import Decision, Envelope, Handle, Manifest, PeerId, Receipt, job_id
from plasm_core.records.consistency import contradictions
from plasm_core.records.files import AskedFiles, JobFiles
from plasm_core.records.receipt import Asked
from plasm_core.sandbox.process.file_pack import read_pack
from plasm_core.signing import open_record
from plasm_core.testing.claims import MOMENT, SIGNER
from plasm_core.verification import Expectation, verify
from plasm_signer_ed25519.verifier import SignatureVerifier

Input = tuple[str, bytes]

PROGRAM = Path(__file__).resolve().parents[2] / "php" / "tests" / "Support" / "readers.php"
NOW = MOMENT.replace(microsecond=0)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TRUST = Expectation(trusted=frozenset({SIGNER.peer_id}))


def _task(task: Asked | Manifest) -> list[Any]:
    limits = task.limits
    return [
        *(task.module, task.args, task.env, task.stdin, task.seed),
        *(limits.gas, limits.memory_bytes, limits.output_bytes, list(task.capabilities), task.entry),
        _files(task.files),
    ]


def _files(files: JobFiles | AskedFiles | None) -> list[Any] | None:
    if files is None:
        return None
    limits = [files.limits.data_bytes, files.limits.entries, files.limits.descriptors]
    return [files.tree, list(files.read_only), list(files.outputs), limits]


def _receipt(data: bytes) -> list[Any]:
    receipt = Receipt.from_statement(data)
    asked, result, claims = receipt.asked, receipt.result, receipt.claims
    outcome = result.outcome
    moments = [(at - _EPOCH) // timedelta(microseconds=1) for at in (claims.started_at, claims.finished_at)]
    return [
        *(asked.job_id, asked.task_digest, _task(asked), outcome.kind, outcome.code, outcome.trap),
        *(outcome.detail, result.reproducible, str(result.gas_used)),
        *(receipt.stdout, str(result.stdout_bytes), receipt.stderr, str(result.stderr_bytes)),
        *(moments, str(claims.wall_time_ms), str(claims.cpu_time_ms), str(claims.peak_memory_bytes)),
        *(claims.runtime.name, claims.runtime.version, claims.isolation, claims.attempt),
        *(str(receipt.node), sorted(contradictions(receipt))),
        [[item.subject, item.sha256] for item in receipt.files],
    ]


def _envelope(data: bytes) -> list[Any]:
    envelope = Envelope.from_json(data)
    signatures = [[item.key_id, item.sig.hex()] for item in envelope.signatures]
    return [envelope.payload.hex(), envelope.payload_type, signatures]


def _manifest(data: bytes) -> list[Any]:
    manifest = Manifest.from_json(data)
    return [
        *(job_id(data), manifest.task_digest, _task(manifest)),
        *(manifest.wall_time_s, manifest.cpu, manifest.retry.attempts, manifest.nonce),
    ]


def _capabilities(data: bytes) -> list[Any]:
    record = open_record(data, SIGNER.peer_id, now=NOW)
    limits, load = record.limits, record.load
    times = [at.strftime("%H:%M:%S.%f") for at in (record.issued_at, record.expires_at)]
    dates = [f"{at.year:04}-{at.month:02}-{at.day:02}" for at in (record.issued_at, record.expires_at)]
    return [
        *(record.peer, record.agent, list(record.profiles), list(record.gas_schedules), list(record.wasi)),
        [[engine.name, engine.version, list(engine.features)] for engine in record.engines],
        *(record.architecture, record.cpu, record.memory_bytes, limits.gas, limits.memory_bytes),
        *(limits.output_bytes, limits.wall_time_s, limits.cpu, limits.module_bytes, limits.stdin_bytes),
        limits.tree_bytes,
        *(list(record.capabilities), record.lends, load.running, load.waiting, load.capacity),
        *(list(record.protocols), list(record.addresses)),
        *(f"{date}T{time}" for date, time in zip(dates, times, strict=True)),
    ]


def _handle(data: bytes) -> list[Any]:
    handle = Handle.parse(data.decode())
    return [handle.job_id, str(handle.peer), handle.token().hex(), str(handle)]


def _verified(data: bytes) -> list[Any]:
    receipt, verdict = verify(data, _TRUST, [SignatureVerifier()])
    if verdict.decision is not Decision.ACCEPT or receipt is None:
        raise InvalidRecordError("receipt", [("", "; ".join(verdict.reasons))])
    return [str(verdict.signer), str(receipt.result.gas_used)]


def _message(data: bytes) -> dict[str, Any]:
    message = parse(data, FROM_NODE)
    found = encode(message)
    if isinstance(message, Credit):
        del found["attempt"]  # PHP checks it, and keeps what a client is to know
    if isinstance(message, Possessed):
        found["channel"] = message.about.label
    if not found.get("features"):
        found.pop("features", None)
    return found


def _listing(data: bytes) -> list[Any]:
    entries = tree_listing.parse(data)
    assert tree_listing.encode(entries) == data
    return [
        [entry.path.hex(), entry.kind, entry.size, entry.digest.hex(), entry.target.hex()]
        for entry in entries
    ]


def _pack(data: bytes) -> list[Any]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        pack = read_pack(file.fileno(), len(data), maximum_entries=64, maximum_bytes=4096)
        return [pack.tree, pack.size_bytes, pack.file_bytes]


READERS: dict[str, Callable[[bytes], Any]] = {
    "receipt": _receipt,
    "envelope": _envelope,
    "manifest": _manifest,
    "capabilities": _capabilities,
    "handle": _handle,
    "peer": lambda data: [PeerId.parse(data.decode()).multihash.hex()],
    "multihash": lambda data: [str(PeerId.from_multihash(data))],
    "verified": _verified,
    "message": _message,
    "listing": _listing,
    "pack": _pack,
}


def read(kind: str, data: bytes) -> Any:
    """Return what Python reads, None if it refuses. Any other error than a reader's own is a finding."""
    try:
        return READERS[kind](data)
    except (InvalidRecordError, ProtocolError, ValueError):
        return None


class PhpReaders:
    """The readers of PHP, in one process that lives as long as the context."""

    def __init__(self) -> None:
        php = shutil.which("php")
        if php is None:
            raise FileNotFoundError("there is no php")
        self._command = [php, str(PROGRAM), str(SIGNER.peer_id), str(NOW.timestamp())]

    def __enter__(self) -> PhpReaders:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, inputs: Sequence[Input]) -> list[Any]:
        """Return what PHP reads of each input, None where it refuses."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        found = []
        for kind, data in inputs:  # one at a time: neither side may fill the other's pipe
            self._process.stdin.write(f"{kind} {base64.b64encode(data).decode()}\n".encode())
            self._process.stdin.flush()
            found.append(json.loads(self._process.stdout.readline()))
        return found


__all__ = ["NOW", "READERS", "Input", "PhpReaders", "read"]
