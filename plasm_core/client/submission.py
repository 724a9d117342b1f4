"""A submission: a manifest with the module and the input that it names."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from plasm_core.client.fetched_files import FetchLimits
from plasm_core.client.file_terms import FILE_TERMS, FileContent, has_files, pack_files
from plasm_core.client.module_profile import needed_profile
from plasm_core.client.upload import Bytes, File, Pack, Source
from plasm_core.protocol.channels import UPLOADS, Channel
from plasm_core.quantities import quantity, seconds
from plasm_core.records import JobInput, Limits, Manifest, job_id
from plasm_core.records.digest import decode_list, encode_list
from plasm_core.records.fields import ConstraintError
from plasm_core.records.files import FileLimits, JobFiles
from plasm_core.records.handle import Handle
from plasm_core.records.manifest import DEFAULT_LIMITS, ZERO_SEED, manifest_of, new_nonce
from plasm_core.records.peer import PeerId

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from plasm_core.protocol.messages import Uploads
    from plasm_core.sandbox.process.file_pack import FilePack


Content = str | Path | bytes | Source
"""Bytes, or the path of a file that has them."""
JobInputs = Iterable[Mapping[str, Any] | Content]
"""The inputs of a map: each a mapping of terms, which are added to those of all jobs, or what `stdin=` takes."""


class Terms(TypedDict, total=False):
    """The input, limits and grants of a job. Omitted terms have the client's defaults."""

    args: Sequence[str | bytes]
    """The arguments, without the program's name."""
    env: Mapping[str, str] | Sequence[str | bytes]
    """Names and values; or NAME=VALUE items, which may name a variable twice."""
    stdin: Content
    """Standard input: bytes, or the path of a file."""
    limits: Limits
    """All limits of the task together; `gas`, `memory` and `output` set one each."""
    gas: int | str
    """The most gas, as `1_000_000` or `"1e9"`. [default: 100,000,000,000]"""
    memory: int | str
    """The most memory: bytes, or `"64MiB"`. [default: 256 MiB]"""
    output: int | str
    """The most output on each of stdout and stderr: bytes, or `"1GiB"`. [default: 64 MiB]"""
    wall_time_s: int | str
    """The most wall time: seconds, or `"5min"`. [default: 60]"""
    cpu: int
    """Processors. [default: 1]"""
    seed: str
    """64 hexadecimal digits."""
    attempts: int
    """How often a node may start it in all."""
    entry: str
    """The export to call in place of `_start`, after `_initialize` if there is one: for a reactor."""
    files: Mapping[str, FileContent]
    """Files for the job, by their paths in its tree: bytes, or the path of a file or directory (docs/files.md)."""
    outputs: Sequence[str]
    """Paths of the job's tree to keep: files, or directories, which are made if the path ends with a slash."""
    file_limits: FileLimits
    """The most bytes and names that the job's files may come to."""
    profile: str
    """`plasm.det/v2` for a module with exceptions or tail calls. [default: what the job and its module need]"""
    grants: Sequence[str]
    """`clock.real`, `random.real`: the manifest's `capabilities`. With any, the job is not reproducible."""


@attrs.frozen(kw_only=True)
class Submission:
    """A job to submit: manifest, inputs and secret.

    Submitting it twice to one node gives one job. On another node it is a separate job with a different token.
    """

    manifest_json: bytes
    sources: dict[Channel, Source]
    pack: FilePack | None = attrs.field(default=None, repr=False)
    """The input tree of a job with files."""
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)

    @classmethod
    def of(
        cls,
        module: Content,
        *,
        pack: FilePack | None = None,
        asked_files: JobFiles | None = None,
        **terms: Unpack[Terms],
    ) -> Submission:
        """Make a submission from a module and its terms.

            from plasm_core import Client, Submission

            job = Submission.of("examples/hello/hello.wasm", args=["some", "words"])
            print(job.manifest.module, job.manifest.limits.gas)
            print(Client().run(job))

        `pack`, `asked_files`: files that were read before, in place of the terms `files` and `outputs`; the pack stays
        the caller's. Raises: TypeError for an unknown term or a wrong type; ValueError for a value that no manifest can hold;
        OSError if a file cannot be read.
        """
        check_terms(terms)
        if pack is None and has_files(terms):
            pack, asked_files = pack_files(terms)
            with contextlib.ExitStack() as undo:
                undo.callback(pack.close)
                own = cls.of(module, pack=pack, asked_files=asked_files, **_without_files(terms))
                own.sources[Channel.FILES] = Pack(pack, owned=True)
                undo.pop_all()
            return own
        grants = _items("grants", terms.get("grants", ()), (str,))
        inputs = JobInput(
            args=argument_bytes(terms.get("args", ())), env=environment_bytes(terms.get("env", {}))
        )
        code = source_of(module, "the module")
        stdin = source_of(terms.get("stdin", b""), "stdin")
        manifest = manifest_of(
            module=code.digest,
            inputs=inputs,
            stdin=stdin.digest,
            limits=_limits(terms),
            seed=terms.get("seed", ZERO_SEED),
            wall_time_s=_number(terms, "wall_time_s", 60),
            cpu=terms.get("cpu", 1),
            attempts=terms.get("attempts", 3),
            grants=grants,
            files=asked_files,
            entry=terms.get("entry"),
            profile=terms.get("profile") or needed_profile(code),
        )
        sources: dict[Channel, Source] = {
            Channel.MODULE: code,
            Channel.ARGS: Bytes(encode_list(inputs.args)),
            Channel.ENV: Bytes(encode_list(inputs.env)),
            Channel.STDIN: stdin,
        }
        if pack is not None:
            sources[Channel.FILES] = Pack(pack)
        return cls(manifest_json=manifest.to_json(), sources=sources, pack=pack)

    def load(self) -> tuple[bytes, JobInput]:
        """Read the module and the input. Raises: OSError."""
        data = {
            channel: self.sources[channel].read(0, self.sources[channel].size_bytes) for channel in UPLOADS
        }
        inputs = JobInput(
            args=decode_list(data[Channel.ARGS]),
            env=decode_list(data[Channel.ENV]),
            stdin=data[Channel.STDIN],
        )
        return data[Channel.MODULE], inputs

    def close(self) -> None:
        """Close the files that it reads from."""
        for source in self.sources.values():
            source.close()

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        """The manifest, parsed."""
        return Manifest.from_json(self.manifest_json)

    @property
    def fetch_limits(self) -> FetchLimits:
        """The limits of all outputs of the job together."""
        files = self.manifest.files
        if files is None or self.pack is None:
            return FetchLimits(entries=0, file_bytes=0)
        return FetchLimits(
            entries=files.limits.entries + 1, file_bytes=files.limits.data_bytes + self.pack.file_bytes
        )

    @property
    def sizes(self) -> Uploads:
        """The size of each upload in bytes."""
        from plasm_core.protocol.messages import Uploads  # a run on this machine sends no messages

        return Uploads(**{channel.label: source.size_bytes for channel, source in self.sources.items()})

    @property
    def job_id(self) -> str:
        """The job's id."""
        return job_id(self.manifest_json)

    def another(self) -> Submission:
        """Return another job of the same task, whose id does not reveal that the two belong together."""
        manifest = attrs.evolve(self.manifest, nonce=new_nonce())
        return attrs.evolve(self, manifest_json=manifest.to_json(), secret=secrets.token_bytes(32))

    def handle(self, peer: PeerId) -> Handle:
        """Return the handle of the job at a node."""
        return Handle(job_id=self.job_id, secret=self.secret, peer=peer)


def _without_files(terms: Terms) -> Terms:
    return {name: value for name, value in terms.items() if name not in FILE_TERMS}  # type: ignore[return-value]


_TYPES: dict[str, type] = {
    "limits": Limits,
    "cpu": int,
    "seed": str,
    "entry": str,
    "profile": str,
    "attempts": int,
}


def check_terms(terms: Mapping[str, Any]) -> None:
    """Check the names and types of terms. Raises: TypeError for unknown ones and wrong types."""
    known = Terms.__annotations__
    if "capabilities" in terms:
        raise TypeError("the term capabilities is called grants now")
    for name in terms:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, [*known, "timeout_s"], 1, 0.5)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"a job has no term {name}{meant}")
    for name, kind in _TYPES.items():
        if name in terms and (not isinstance(terms[name], kind) or isinstance(terms[name], bool)):
            raise TypeError(f"{name}: expected {kind.__name__}, got {type(terms[name]).__name__}")


def _limits(terms: Terms) -> Limits:
    """Return the limits of a task. Raises: TypeError, ValueError."""
    limits = terms.get("limits", DEFAULT_LIMITS)
    try:
        return Limits(
            gas=_number(terms, "gas", limits.gas),
            memory_bytes=_number(terms, "memory", limits.memory_bytes),
            output_bytes=_number(terms, "output", limits.output_bytes),
        )
    except ConstraintError as exc:
        raise ValueError(f"limits: {exc}") from exc


def _number(terms: Mapping[str, Any], name: str, default: int) -> int:
    """Return a number that may be given as text. Raises: TypeError, ValueError."""
    value = terms.get(name, default)
    if isinstance(value, str):
        try:
            return seconds(value) if name == "wall_time_s" else quantity(value)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected int or str, got {type(value).__name__}")
    return value


def _items(name: str, value: Any, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return a list's items. Raises: TypeError, on a string too: it is a sequence of its letters."""
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a list, got {type(value).__name__}")
    items = tuple(value)
    for item in items:
        if not isinstance(item, kinds):
            raise TypeError(
                f"{name}: expected {' or '.join(k.__name__ for k in kinds)} items, got {item!r:.80}"
            )
    return items


def argument_bytes(value: Any) -> tuple[bytes, ...]:
    """Encode arguments. Raises: TypeError."""
    return tuple(os.fsencode(item) for item in _items("args", value, (str, bytes)))


def environment_bytes(value: Any) -> tuple[bytes, ...]:
    """Encode variables. Raises: TypeError; ValueError on what would be another variable than was meant."""
    if not isinstance(value, Mapping):
        items = tuple(os.fsencode(item) for item in _items("env", value, (str, bytes)))
    else:
        for name, text in value.items():
            if not isinstance(name, str) or not isinstance(text, str):
                raise TypeError(
                    f"env: expected names and values that are str, got {name!r:.80}: {text!r:.80}"
                )
            if not name or "=" in name:
                raise ValueError(f"env: {name!r} is not the name of a variable")
        items = tuple(os.fsencode(f"{name}={text}") for name, text in value.items())
    for item in items:
        if item.find(b"=") < 1:
            raise ValueError(f"env: expected NAME=VALUE, got {item!r:.80}")
    return items


def source_of(content: Content, what: str) -> Source:
    """Return bytes, or the file at a path, to read from; `what` names it in errors. Raises: TypeError, ValueError, OSError."""
    if isinstance(content, Source):
        return content
    if isinstance(content, (bytes, bytearray, memoryview)):
        return Bytes(bytes(content))
    if not isinstance(content, (str, os.PathLike)):
        raise TypeError(f"{what}: expected bytes, or the path of a file, got {type(content).__name__}")
    if not os.fspath(content):
        raise ValueError(f"{what}: the path is empty")
    return File(Path(content))
