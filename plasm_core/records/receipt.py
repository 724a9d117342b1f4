"""The receipt: an in-toto Statement v1 about one run.

Its subjects are the outputs. Its predicate contains the request, the result that anyone can re-check by running the
task again, the node's claims, and the signer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records.converter import encode_plain, parse_json, structure, unstructure
from plasm_core.records.fields import (
    boolean,
    constrained,
    counter,
    digest,
    integer,
    lower_hex,
    names_of,
    one_of,
    optional,
    optional_record,
    text,
    timestamp,
)
from plasm_core.records.files import MAX_PATHS, AskedFiles, Product
from plasm_core.records.manifest import (
    CAPABILITIES,
    GAS_SCHEDULES,
    Limits,
    Manifest,
    check_profile,
    entry_name,
    task_digest,
)
from plasm_core.records.outcome import Outcome
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.peer import PeerId, peer_id

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:phase:receipt:v0"
MAX_STATEMENT_BYTES = 512 << 10


@attrs.frozen(kw_only=True)
class AskedLimits:
    """The task's limits as decimal strings."""

    json_camel = True
    json_open = True

    gas: int = constrained(counter())
    memory_bytes: int = constrained(counter())
    output_bytes: int = constrained(counter())


@attrs.frozen(kw_only=True)
class Asked:
    """The request that a receipt answers: the task by its digests, and the submission."""

    json_camel = True
    json_open = True

    job_id: str = constrained(digest())
    task_digest: str = constrained(digest())
    profile: str = constrained(one_of(*GAS_SCHEDULES))
    module: str = constrained(digest())
    args: str = constrained(digest())
    env: str = constrained(digest())
    stdin: str = constrained(digest())
    seed: str = constrained(lower_hex(32))
    limits: AskedLimits
    capabilities: tuple[str, ...] = constrained(names_of(*CAPABILITIES))
    files: AskedFiles | None = optional_record()
    entry: str | None = optional(entry_name())

    def __attrs_post_init__(self) -> None:
        check_profile(self.profile, self.files, self.entry)

    @classmethod
    def of(cls, manifest: Manifest, job_id: str) -> Asked:
        """Copy a manifest's fields."""
        return cls(
            job_id=job_id,
            task_digest=manifest.task_digest,
            profile=manifest.profile,
            module=manifest.module,
            args=manifest.args,
            env=manifest.env,
            stdin=manifest.stdin,
            seed=manifest.seed,
            limits=AskedLimits(
                gas=manifest.limits.gas,
                memory_bytes=manifest.limits.memory_bytes,
                output_bytes=manifest.limits.output_bytes,
            ),
            capabilities=manifest.capabilities,
            files=None if manifest.files is None else AskedFiles.of(manifest.files),
            entry=manifest.entry,
        )

    def computed_task_digest(self) -> str:
        """The task digest, computed from the other fields."""
        return task_digest(
            profile=self.profile,
            module=self.module,
            args=self.args,
            env=self.env,
            stdin=self.stdin,
            seed=self.seed,
            limits=Limits(
                gas=self.limits.gas,
                memory_bytes=self.limits.memory_bytes,
                output_bytes=self.limits.output_bytes,
            ),
            capabilities=self.capabilities,
            files=None if self.files is None else self.files.as_asked(),
            entry=self.entry,
        )


@attrs.frozen(kw_only=True)
class Result:
    """The part of a receipt that others can check, if the outcome is re-checkable and the run reproducible."""

    json_camel = True
    json_open = True

    outcome: Outcome
    reproducible: bool = constrained(boolean())
    gas_used: int = constrained(counter())
    gas_schedule: str = constrained(one_of(*GAS_SCHEDULES.values()))
    stdout_bytes: int = constrained(counter())
    stderr_bytes: int = constrained(counter())


@attrs.frozen(kw_only=True)
class RuntimeClaim:
    """The engine that the node claims it used."""

    json_camel = True
    json_open = True

    name: str = constrained(text(pattern=r"[a-z0-9_-]+", maximum=64))
    version: str = constrained(text(pattern=r"[\x20-\x7e]*", maximum=64))


@attrs.frozen(kw_only=True)
class Claims:
    """The node's statements that cannot be checked: times, memory and engine."""

    json_camel = True
    json_open = True

    started_at: datetime = constrained(timestamp())
    finished_at: datetime = constrained(timestamp())
    wall_time_ms: int = constrained(counter())
    cpu_time_ms: int = constrained(counter())
    peak_memory_bytes: int = constrained(counter())
    runtime: RuntimeClaim
    isolation: str = constrained(one_of("process", "shared"))
    attempt: int = constrained(integer(1, 100), default=1)


@attrs.frozen(kw_only=True)
class Receipt:
    """A node's statement about one run. `stdout` and `stderr` are the digests of its outputs, `files` its output
    files.
    """

    stdout: str = constrained(digest())
    stderr: str = constrained(digest())
    asked: Asked
    result: Result
    claims: Claims
    node: PeerId
    files: tuple[Product, ...] = ()

    @property
    def missing_outputs(self) -> tuple[str, ...]:
        """The output files that the task asks for and the job did not leave."""
        asked = () if self.asked.files is None else self.asked.files.outputs
        return tuple(sorted(set(asked) - {item.path for item in self.files}))

    def output(self, stream: OutputStream) -> OutputDigest:
        """Return size and digest of one output, as the receipt states them."""
        if stream is OutputStream.STDOUT:
            return OutputDigest(size_bytes=self.result.stdout_bytes, sha256=self.stdout)
        return OutputDigest(size_bytes=self.result.stderr_bytes, sha256=self.stderr)

    def to_statement(self) -> bytes:
        """Encode the receipt as an in-toto Statement, the bytes that are signed."""
        return encode_plain(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": "stdout", "digest": {"sha256": self.stdout}},
                    {"name": "stderr", "digest": {"sha256": self.stderr}},
                    *({"name": item.subject, "digest": {"sha256": item.sha256}} for item in self.files),
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": _without_nulls(
                    unstructure(
                        Predicate(
                            asked=self.asked,
                            result=self.result,
                            claims=self.claims,
                            node=_Node(peer_id=self.node),
                        )
                    )
                ),
            }
        )

    @classmethod
    def from_statement(cls, data: bytes) -> Receipt:
        """Parse a statement. Raises: `InvalidRecordError`, also if the task digest does not match the other fields."""
        value = parse_json(data, record="receipt", maximum=MAX_STATEMENT_BYTES)
        statement = structure(value, Statement, record="receipt")
        digests = {subject.name: subject.digest.sha256 for subject in statement.subject}
        predicate = statement.predicate
        asked, result = predicate.asked, predicate.result
        files = _output_files(statement.subject, asked)
        if files and not result.outcome.recheckable:
            raise InvalidRecordError("receipt", [("subject", f"a job that {result.outcome} leaves no files")])
        if result.gas_schedule != GAS_SCHEDULES[asked.profile]:
            raise InvalidRecordError("receipt", [("predicate.result.gasSchedule", "not that of the profile")])
        try:
            computed = asked.computed_task_digest()
        except ValueError as exc:
            raise InvalidRecordError("receipt", [("predicate.asked.limits", str(exc))]) from None
        if computed != asked.task_digest:
            raise InvalidRecordError(
                "receipt", [("predicate.asked.taskDigest", "not the digest of the fields beside it")]
            )
        if result.reproducible != (not asked.capabilities):
            raise InvalidRecordError(
                "receipt", [("predicate.result.reproducible", "contradicts the capabilities")]
            )
        return cls(
            stdout=digests["stdout"],
            stderr=digests["stderr"],
            asked=asked,
            result=result,
            claims=predicate.claims,
            node=predicate.node.peer_id,
            files=files,
        )


@attrs.frozen(kw_only=True)
class _Node:
    json_camel = True
    json_open = True

    peer_id: PeerId = constrained(peer_id())


@attrs.frozen(kw_only=True)
class Predicate:
    """The predicate: the node's statement about the run."""

    json_camel = True
    json_open = True

    asked: Asked
    result: Result
    claims: Claims
    node: _Node


@attrs.frozen(kw_only=True)
class _Digest:
    json_open = True

    sha256: str = constrained(digest())


@attrs.frozen(kw_only=True)
class _Subject:
    json_open = True

    name: str = constrained(
        text(
            pattern=r"stdout|stderr|(file|tree):[^\x00-\x1f\x7f]+",
            maximum=1_029,
            expected="the name of an output",
        )
    )
    digest: _Digest


@attrs.frozen(kw_only=True)
class Statement:
    """An in-toto Statement v1 whose subjects are the outputs and whose predicate is a receipt's."""

    json_camel = True
    json_open = True

    type_: str = constrained(one_of(STATEMENT_TYPE), name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = constrained(one_of(PREDICATE_TYPE))
    predicate: Predicate


def _output_files(subjects: tuple[_Subject, ...], asked: Asked) -> tuple[Product, ...]:
    """Return the outputs that subjects name, in the order of the task. Raises: `InvalidRecordError`."""
    names = [subject.name for subject in subjects]
    if len(subjects) > 2 + MAX_PATHS or names.count("stdout") != 1 or names.count("stderr") != 1:
        raise InvalidRecordError("receipt", [("subject", "expected stdout and stderr, once each")])
    found: dict[str, Product] = {}
    for subject in subjects:
        kind, colon, path = subject.name.partition(":")
        if not colon:
            continue
        if asked.files is None or path not in asked.files.outputs or path in found:
            raise InvalidRecordError("receipt", [("subject", f"{path!a} is not an output of the task, once")])
        found[path] = Product(path=path, kind=kind, sha256=subject.digest.sha256)
    return tuple(found[path] for path in sorted(found))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return value
