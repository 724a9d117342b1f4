"""The manifest: a job's computation, by digests only, and its limits and grants."""

from __future__ import annotations

import re
import secrets
import struct
import threading
from collections.abc import Sequence
from typing import Any

import attrs

from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.digest import list_digest, sha256, tagged_digest
from plasm_core.records.fields import (
    Constraint,
    ConstraintError,
    constrained,
    digest,
    integer,
    lower_hex,
    names_of,
    one_of,
    optional,
    optional_record,
)
from plasm_core.records.files import JobFiles

MANIFEST_FORMAT = "phase.manifest/v0"
PROFILE = "plasm.det/v1"
GAS_SCHEDULE = "plasm.gas/v1"
PROFILE_V2 = "plasm.det/v2"
"""The profile of a job with files (docs/files.md), an entry, or a module with exceptions or tail calls
(docs/determinism.md)."""
GAS_SCHEDULE_V2 = "plasm.gas/v2"
GAS_SCHEDULES = {PROFILE: GAS_SCHEDULE, PROFILE_V2: GAS_SCHEDULE_V2}
"""The gas schedule that belongs to each profile."""
CAPABILITIES = ("clock.real", "random.real")
"""All there is to ask for. A job that asks for either cannot be reproduced."""

MAX_MANIFEST_BYTES = 65_536
MAX_VALUES = 1000
"""So many commas and opening brackets a manifest may have outside its strings; its fields come to some 200."""
_SMALL_MANIFEST_BYTES = 2048
"""Most have some 900 bytes. Larger ones are parsed each time."""
ZERO_SEED = "00" * 32
MAX_ARGUMENT_BYTES = 1 << 20
"""How many bytes a job's arguments and variables may have together."""
MAX_ENTRY_BYTES = 255
NO_ENTRIES = ("_start", "_initialize")
"""No names of entries: a job without an entry calls the first, one with an entry calls the second before it."""
_ENTRY_PATTERN = r"[^\x00-\x1f\x7f]+"


def entry_name() -> Constraint:
    """The name of an exported function to call in place of `_start`: 1 to 255 bytes of UTF-8."""
    pattern = re.compile(_ENTRY_PATTERN)

    def accepts(value: object) -> bool:
        if not isinstance(value, str) or value in NO_ENTRIES or pattern.fullmatch(value) is None:
            return False
        try:
            return len(value.encode()) <= MAX_ENTRY_BYTES
        except UnicodeEncodeError:
            return False

    return Constraint(
        expected=lambda _: (
            f"the name of an export of at most {MAX_ENTRY_BYTES} bytes, other than {' and '.join(NO_ENTRIES)}"
        ),
        schema={
            "type": "string",
            "maxLength": MAX_ENTRY_BYTES,
            "pattern": f"^({_ENTRY_PATTERN})$",
            "not": {"enum": list(NO_ENTRIES)},
        },
        accepts=accepts,
    )


@attrs.frozen(kw_only=True)
class Limits:
    """The limits that are part of the task. Anyone who runs the task again can check that it reached one."""

    gas: int = constrained(integer(1))
    memory_bytes: int = constrained(integer(65_536, 2**32))
    output_bytes: int = constrained(integer(0, 2**40))


DEFAULT_GAS, DEFAULT_MEMORY_BYTES = 100_000_000_000, 256 << 20
DEFAULT_LIMITS = Limits(gas=DEFAULT_GAS, memory_bytes=DEFAULT_MEMORY_BYTES, output_bytes=64 << 20)
"""What our clients ask for when their user names nothing. A manifest itself has no defaults:
a task must not mean one thing to its sender and another to its node."""


@attrs.frozen(kw_only=True)
class Retry:
    """The most attempts at a job, in case a node fails."""

    attempts: int = constrained(integer(1, 100))


@attrs.frozen(kw_only=True)
class Manifest:
    """The client's request. `module` and `stdin` are digests of bytes, `args` and `env` digests of list encodings."""

    format: str = constrained(one_of(MANIFEST_FORMAT))
    profile: str = constrained(one_of(*GAS_SCHEDULES))
    module: str = constrained(digest())
    args: str = constrained(digest())
    env: str = constrained(digest())
    stdin: str = constrained(digest())
    seed: str = constrained(lower_hex(32))
    limits: Limits
    wall_time_s: int = constrained(integer(1, 86_400))
    cpu: int = constrained(integer(1, 1024))
    capabilities: tuple[str, ...] = constrained(names_of(*CAPABILITIES))
    retry: Retry
    nonce: str = constrained(lower_hex(16))
    files: JobFiles | None = optional_record()
    entry: str | None = optional(entry_name())

    def __attrs_post_init__(self) -> None:
        check_profile(self.profile, self.files, self.entry)

    def to_json(self) -> bytes:
        """Encode the manifest. The job id is the digest of exactly these bytes."""
        data = encode_json(self)
        if len(data) <= _SMALL_MANIFEST_BYTES:
            _LATELY.add(data, self)
        return data

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parse a manifest. Raises: `InvalidRecordError`, naming every problem with its path."""
        if len(data) > _SMALL_MANIFEST_BYTES:
            return _parsed(data)
        found = _LATELY.find(data)
        if found is None:
            found = _parsed(data)
            _LATELY.add(data, found)
        return found

    @property
    def task_digest(self) -> str:
        """The digest of the task: equal task digests must give equal observables."""
        return task_digest(
            profile=self.profile,
            module=self.module,
            args=self.args,
            env=self.env,
            stdin=self.stdin,
            seed=self.seed,
            limits=self.limits,
            capabilities=self.capabilities,
            files=self.files,
            entry=self.entry,
        )

    @property
    def reproducible(self) -> bool:
        """Whether every run must give the same observables: no grant was asked for."""
        return not self.capabilities


def _parsed(data: bytes) -> Manifest:
    value = parse_json(data, record="manifest", maximum=MAX_MANIFEST_BYTES, maximum_values=MAX_VALUES)
    return structure(value, Manifest, record="manifest")


class _Lately:
    """The latest small manifests by their bytes. They are frozen, so all that read one of a job may share it."""

    def __init__(self) -> None:
        self._found: dict[bytes, Manifest] = {}
        self._lock = threading.Lock()

    def find(self, data: bytes) -> Manifest | None:
        """Return the manifest with these bytes, if it was read or written lately."""
        return self._found.get(data)

    def add(self, data: bytes, manifest: Manifest) -> None:
        """Remember a manifest, and forget the one that was added first."""
        with self._lock:
            self._found[data] = manifest
            if len(self._found) > _MOST_LATELY:
                del self._found[next(iter(self._found))]


_MOST_LATELY = 256
_LATELY = _Lately()
"""A client and a node read the manifest of one job several times."""


def check_profile(profile: str, files: object, entry: str | None) -> None:
    """Refuse files and an entry outside the profile that has them. Raises: `ConstraintError`.

    Without them a task may have that profile for its module's sake, which is known only at admission.
    """
    if profile == PROFILE and profile_for(files, entry) != PROFILE:
        raise ConstraintError(f"files and an entry go with the profile {PROFILE_V2}")


def profile_for(files: object, entry: str | None) -> str:
    """Return the least profile of a task with these fields."""
    return PROFILE if files is None and entry is None else PROFILE_V2


def task_digest(
    *,
    profile: str,
    module: str,
    args: str,
    env: str,
    stdin: str,
    seed: str,
    limits: Limits,
    capabilities: Sequence[str],
    files: JobFiles | None = None,
    entry: str | None = None,
) -> str:
    """Return the task digest (docs/determinism.md). Digests and seed are given in hexadecimal."""
    return tagged_digest(
        [
            ("profile", profile.encode()),
            ("module", bytes.fromhex(module)),
            ("args", bytes.fromhex(args)),
            ("env", bytes.fromhex(env)),
            ("stdin", bytes.fromhex(stdin)),
            ("seed", bytes.fromhex(seed)),
            ("gas", struct.pack("<Q", limits.gas)),
            ("memory", struct.pack("<Q", limits.memory_bytes)),
            ("output", struct.pack("<Q", limits.output_bytes)),
            ("capabilities", "\n".join(sorted(capabilities)).encode()),
            *(files.digested if files is not None else ()),
            *([("entry", entry.encode())] if entry is not None else ()),
        ]
    )


def job_id(manifest_json: bytes) -> str:
    """Return the job id of a manifest's bytes as sent."""
    return sha256(manifest_json)


def new_nonce() -> str:
    """Return a fresh nonce: it makes two submissions of one task two jobs."""
    return secrets.token_hex(16)


@attrs.frozen(kw_only=True)
class JobInput:
    """The args, env and stdin that a manifest identifies by digest. `env` holds `NAME=value` strings."""

    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    stdin: bytes = attrs.field(default=b"", repr=False)

    def __attrs_post_init__(self) -> None:
        if any(b"\0" in item for item in (*self.args, *self.env)):
            raise ValueError("args and env must not contain NUL: a guest would see them cut short")
        if any(item.find(b"=") < 1 for item in self.env):
            raise ValueError("each item of env is NAME=value")

    def mismatches(self, manifest: Manifest) -> list[str]:
        """Return the names of the inputs whose digests differ from the manifest's."""
        found = {
            "args": list_digest(self.args),
            "env": list_digest(self.env),
            "stdin": sha256(self.stdin),
        }
        return [name for name, value in found.items() if getattr(manifest, name) != value]


def manifest_of(
    *,
    module: str,
    inputs: JobInput,
    stdin: str,
    limits: Limits = DEFAULT_LIMITS,
    seed: str = ZERO_SEED,
    wall_time_s: int = 60,
    cpu: int = 1,
    attempts: int = 3,
    grants: Sequence[str] = (),
    files: JobFiles | None = None,
    entry: str | None = None,
    profile: str | None = None,
) -> Manifest:
    """Make a manifest with a fresh nonce.

    `profile`: None for the least that its fields need; a module may need another.

    `module` and `stdin` are digests. Of `inputs`, only args and env are used. `grants` become the field
    `capabilities`.
    """
    return Manifest(
        format=MANIFEST_FORMAT,
        profile=profile or profile_for(files, entry),
        module=module,
        args=list_digest(inputs.args),
        env=list_digest(inputs.env),
        stdin=stdin,
        seed=seed,
        limits=limits,
        wall_time_s=wall_time_s,
        cpu=cpu,
        capabilities=tuple(sorted(set(grants))),
        retry=Retry(attempts=attempts),
        nonce=new_nonce(),
        files=files,
        entry=entry,
    )


def manifest_for(module: bytes, inputs: JobInput, **terms: Any) -> Manifest:
    """Make the manifest of a module and its input: `manifest_of` with their digests."""
    return manifest_of(module=sha256(module), inputs=inputs, stdin=sha256(inputs.stdin), **terms)
