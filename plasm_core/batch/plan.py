"""Make the jobs of a batch from its inputs, before the first is sent."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.inputs import BatchInput
from plasm_core.batch.rows import NewJob
from plasm_core.batch.template import BatchInputError, Template
from plasm_core.records import Limits
from plasm_core.records.digest import encode_list
from plasm_core.records.manifest import DEFAULT_LIMITS, MAX_ARGUMENT_BYTES, ZERO_SEED

_CHUNK_JOBS = 500
_CHUNK_BYTES = 16 << 20


@attrs.frozen(kw_only=True)
class BatchTerms:
    """The terms of each job of a batch that has no others."""

    limits: Limits = DEFAULT_LIMITS
    wall_time_s: int = 60
    seed: str = ZERO_SEED
    grants: tuple[str, ...] = ()
    entry: str | None = None
    profile: str | None = None
    """None for what the job and its module need."""

    def to_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        return {**attrs.asdict(self), "grants": list(self.grants)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BatchTerms:
        """Read what `to_json` has written. Raises: ValueError, TypeError, KeyError."""
        return cls(
            limits=Limits(**value["limits"]),
            wall_time_s=value["wall_time_s"],
            seed=value["seed"],
            grants=tuple(value["grants"]),
            entry=value.get("entry"),
            profile=value.get("profile"),
        )


@attrs.frozen(kw_only=True)
class Templates:
    """The templates of a job: arguments, variables (NAME=VALUE), and standard input, None for the input itself."""

    args: Sequence[Template] = ()
    env: Sequence[Template] = ()
    stdin: Template | None = None

    @property
    def take_fields(self) -> bool:
        """Whether any template has a field: then a line of the inputs fills the fields, and is not standard input."""
        texts = (*self.args, *self.env, *([self.stdin] if self.stdin is not None else []))
        return any(template.fields for template in texts)

    def job(self, given: BatchInput, number: int, terms: BatchTerms) -> NewJob:
        """Return the job of an input. Raises: `BatchInputError`, which names the input."""
        values = {"n": str(number), **given.values}
        args = [os.fsencode(template.fill(values, given.label)) for template in self.args]
        env = [os.fsencode(template.fill(values, given.label)) for template in self.env]
        stdin, stdin_file, changed = given.stdin, None, None
        if self.stdin is not None:
            stdin = os.fsencode(self.stdin.fill(values, given.label))
        elif isinstance(stdin, bytes) and self.take_fields and given.description is None:
            stdin = None
        if given.description is not None:
            args += [item.encode() for item in given.description.args]
            env += [item.encode() for item in given.description.env]
            changed = _terms_of(given, terms)
        if stdin is not None and not isinstance(stdin, bytes):
            stdin_file, stdin = str(stdin), None
        for item in (*args, *env):
            if b"\0" in item:
                raise BatchInputError(f"{given.label}: an argument or variable has a NUL")
        if sum(map(len, args)) + sum(map(len, env)) > MAX_ARGUMENT_BYTES:
            raise BatchInputError(f"{given.label}: the arguments have more than {MAX_ARGUMENT_BYTES} bytes")
        for item in env:
            if item.find(b"=") < 1:
                raise BatchInputError(f"{given.label}: expected NAME=VALUE, got {item!r:.80}")
        return NewJob(given.label, encode_list(args), encode_list(env), stdin, stdin_file, changed)


def _terms_of(given: BatchInput, terms: BatchTerms) -> str | None:
    """Return the terms of a described job as JSON, None if they are the batch's."""
    found = given.description
    assert found is not None
    own = BatchTerms(
        limits=found.limits(terms.limits),
        wall_time_s=terms.wall_time_s if found.wall_time_s is None else found.wall_time_s,
        seed=terms.seed if found.seed is None else found.seed,
        grants=terms.grants if found.grants is None else found.grants,
        entry=terms.entry,
        profile=terms.profile,
    )
    return None if own == terms else json.dumps(own.to_json())


def add_jobs(
    folder: BatchFolder, inputs: Iterable[BatchInput], templates: Templates, terms: BatchTerms
) -> Iterator[int]:
    """Store the jobs of all inputs, and yield now and then how many there are by now. Memory stays bounded.

    Raises: `BatchInputError`: then nothing was sent. `StorageError`.
    """
    count, size, chunk = 0, 0, list[NewJob]()
    for given in inputs:
        job = templates.job(given, count + len(chunk), terms)
        chunk.append(job)
        size += len(job.stdin or b"") + len(job.args) + len(job.env)
        if len(chunk) >= _CHUNK_JOBS or size >= _CHUNK_BYTES:
            folder.add(count, chunk)
            count, size = count + len(chunk), 0
            chunk.clear()
            yield count
    if chunk:
        folder.add(count, chunk)
        count += len(chunk)
    if not count:
        raise BatchInputError("there are no inputs, so there are no jobs")
    folder.note(planned=count)
    yield count


def chained(parts: Iterable[Iterable[BatchInput]]) -> Iterator[BatchInput]:
    """Yield the inputs of several sources after one another."""
    return itertools.chain.from_iterable(parts)
