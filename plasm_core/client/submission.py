"""What a client hands in: a manifest, and the bytes it names."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from plasm_core.client.source import Bytes, File, Source
from plasm_core.records import JobInput, Limits, Manifest, job_id
from plasm_core.records.digest import decode_list, encode_list
from plasm_core.records.handle import Handle
from plasm_core.records.manifest import DEFAULT_LIMITS, ZERO_SEED, manifest_of
from plasm_core.records.peer import PeerId
from plasm_core.wire.frames import Channel
from plasm_core.wire.messages import Uploads

if TYPE_CHECKING:
    from typing_extensions import Unpack


Content = str | Path | bytes | Source
"""Bytes, or the path of a file that has them."""


class Terms(TypedDict, total=False):
    """What a job gets beside its module, and what it may use. What is left out has the client's defaults."""

    args: Sequence[str | bytes]
    env: Mapping[str, str] | Sequence[str | bytes]
    """Names and values; or NAME=VALUE items, which may name a variable twice."""
    stdin: Content
    limits: Limits
    wall_time_s: int
    cpu: int
    seed: str
    """64 hexadecimal digits."""
    attempts: int
    """How often a node may start it in all."""
    capabilities: Sequence[str]


@attrs.frozen(kw_only=True)
class Submission:
    """A job to submit, however often: with the same secret it stays one job.

    Handing the same submission to another node is another job there, with a token of its own.
    """

    manifest_json: bytes
    sources: dict[Channel, Source]
    secret: bytes = attrs.field(factory=lambda: secrets.token_bytes(32), repr=False)

    @classmethod
    def of(cls, module: Content, **terms: Unpack[Terms]) -> Submission:
        """Make a submission of a module.

        Raises: TypeError on a term that there is not, or of the wrong type; ValueError on what no manifest takes;
        OSError if a file cannot be read.
        """
        check_terms(terms)
        inputs = JobInput(args=_args(terms.get("args", ())), env=_env(terms.get("env", {})))
        code = _source(module, "the module")
        stdin = _source(terms.get("stdin", b""), "stdin")
        manifest = manifest_of(
            module=code.digest,
            inputs=inputs,
            stdin=stdin.digest,
            limits=terms.get("limits", DEFAULT_LIMITS),
            seed=terms.get("seed", ZERO_SEED),
            wall_time_s=terms.get("wall_time_s", 60),
            cpu=terms.get("cpu", 1),
            attempts=terms.get("attempts", 3),
            capabilities=terms.get("capabilities", ()),
        )
        sources = {
            Channel.MODULE: code,
            Channel.ARGS: Bytes(encode_list(inputs.args)),
            Channel.ENV: Bytes(encode_list(inputs.env)),
            Channel.STDIN: stdin,
        }
        return cls(manifest_json=manifest.to_json(), sources=sources)

    def load(self) -> tuple[bytes, JobInput]:
        """Read the module and the input. Raises: OSError."""
        data = {channel: source.read(0, source.size_bytes) for channel, source in self.sources.items()}
        inputs = JobInput(
            args=decode_list(data[Channel.ARGS]),
            env=decode_list(data[Channel.ENV]),
            stdin=data[Channel.STDIN],
        )
        return data[Channel.MODULE], inputs

    def close(self) -> None:
        """Close its files."""
        for source in self.sources.values():
            source.close()

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return Manifest.from_json(self.manifest_json)

    @property
    def sizes(self) -> Uploads:
        """The bytes of each upload."""
        return Uploads(**{channel.label: source.size_bytes for channel, source in self.sources.items()})

    def handle(self, peer: PeerId) -> Handle:
        """Return what opens the job at a node."""
        return Handle(job_id=job_id(self.manifest_json), secret=self.secret, peer=peer)


_TYPES: dict[str, type] = {
    "limits": Limits,
    "wall_time_s": int,
    "cpu": int,
    "seed": str,
    "attempts": int,
}


def check_terms(terms: Mapping[str, Any]) -> None:
    """Refuse terms that there are not, and values of the wrong type. Raises: TypeError."""
    known = Terms.__annotations__
    for name in terms:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "timeout_s"], 1, 0.5)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"a job has no term {name}{meant}")
    for name, kind in _TYPES.items():
        if name in terms and (not isinstance(terms[name], kind) or isinstance(terms[name], bool)):
            raise TypeError(f"{name}: expected {kind.__name__}, got {type(terms[name]).__name__}")
    _items("capabilities", terms.get("capabilities", ()), (str,))


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


def _args(value: Any) -> tuple[bytes, ...]:
    return tuple(os.fsencode(item) for item in _items("args", value, (str, bytes)))


def _env(value: Any) -> tuple[bytes, ...]:
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


def _source(content: Content, what: str) -> Source:
    if isinstance(content, Source):
        return content
    if isinstance(content, (bytes, bytearray, memoryview)):
        return Bytes(bytes(content))
    if not isinstance(content, (str, os.PathLike)):
        raise TypeError(f"{what}: expected bytes, or the path of a file, got {type(content).__name__}")
    return File(Path(content))
