"""What a client hands in: a manifest, and the bytes it names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

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
    env: Mapping[str, str]
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

        Raises: ValueError on what no manifest takes; OSError if a file cannot be read.
        """
        code, stdin = _source(module), _source(terms.get("stdin", b""))
        args = tuple(os.fsencode(item) for item in terms.get("args", ()))
        env = tuple(os.fsencode(f"{name}={value}") for name, value in terms.get("env", {}).items())
        inputs = JobInput(args=args, env=env)
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


def _source(content: Content) -> Source:
    if isinstance(content, Source):
        return content
    return Bytes(content) if isinstance(content, bytes) else File(Path(content))
