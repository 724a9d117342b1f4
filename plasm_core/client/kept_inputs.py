"""The modules and inputs of accepted jobs that may have to be checked later: private files by digest, bounded in bytes."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import attrs

from plasm_core.client.submission import Submission
from plasm_core.client.upload import Bytes, Source
from plasm_core.errors import RefusedError
from plasm_core.paths import private_directory, state_directory
from plasm_core.protocol.channels import Channel
from plasm_core.records import Manifest, sha256
from plasm_core.records.manifest import new_nonce

MAX_JOB_BYTES = 64 << 20
"""The input of a longer job is not kept."""
MAX_BYTES = 256 << 20


def directory_of_inputs() -> Path:
    """Return the directory of the kept inputs."""
    return state_directory() / "reputation" / "inputs"


def keep(job: Submission, *, directory: Path | None = None) -> bool:
    """Keep a job's module and input, and delete the longest unused ones beyond `MAX_BYTES`. Return whether it is kept.

    Raises: OSError.
    """
    if sum(source.size_bytes for source in job.sources.values()) > MAX_JOB_BYTES:
        return False
    place = private_directory(directory or directory_of_inputs())
    kept = set()
    for source in job.sources.values():
        path = place / source.digest
        kept.add(path)
        try:
            os.utime(path)
        except FileNotFoundError:
            _write(path, source)
    _make_room(place, kept)
    return True


def load(manifest_json: bytes, *, directory: Path | None = None) -> Submission:
    """Return a submission of the same task as a manifest, with a nonce of its own.

    Raises: `RefusedError` if its module or input is no longer kept; `InvalidRecordError`.
    """
    manifest = Manifest.from_json(manifest_json)
    place = directory or directory_of_inputs()
    sources: dict[Channel, Source] = {}
    for channel, digest in (
        (Channel.MODULE, manifest.module),
        (Channel.ARGS, manifest.args),
        (Channel.ENV, manifest.env),
        (Channel.STDIN, manifest.stdin),
    ):
        try:
            data = (place / digest).read_bytes()
        except OSError as exc:
            raise RefusedError(
                "inputs_gone", f"the job's {channel.label} is not kept here any more: {exc.strerror}"
            ) from exc
        if sha256(data) != digest:
            raise RefusedError("inputs_gone", f"the job's {channel.label} was changed: {place / digest}")
        sources[channel] = Bytes(data)
    again = attrs.evolve(manifest, nonce=new_nonce())
    return Submission(manifest_json=again.to_json(), sources=sources)


def _write(path: Path, source: Source) -> None:
    draft = path.with_name(f".{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(source.read(0, source.size_bytes))
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _make_room(place: Path, kept: set[Path]) -> None:
    found = []
    for path in place.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            found.append((path in kept, status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, _, size, _ in found)
    for is_new, _, size, path in sorted(found):
        if total <= MAX_BYTES or is_new:
            return
        path.unlink(missing_ok=True)
        total -= size
